"""A run in parts: broken off and resumed to the last bit, rolled back, recorded as it goes.

course      which rows each step reads, also after a rollback
session     a run as an object: it advances, its state can be saved and restored
rollback    a policy that says when to go back, and what then
recorder    a session whose steps and states go to a run folder, from which it can be resumed
"""
