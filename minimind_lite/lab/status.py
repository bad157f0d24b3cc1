"""What is going on in a lab, and what a press of Run would do, in words."""

from __future__ import annotations

from minimind_lite.lab.curves import describe_events
from minimind_lite.lab.i18n import say
from minimind_lite.lab.session import LabSession

CHANGED = {  # what a change of settings means for a run that is shown still
    "running": "changed",
    "paused": "changed_paused",
    "finished": "changed_finished",
}


def status_text(session: LabSession) -> str:
    """One line: steps done, loss and seconds of a run, and whether the settings have changed."""
    with session.lock:
        language = session.state.language
        sentences = [say(language, f"status.{_key(session)}", **_values(session))]
        if left := session.leftover:
            sentences.append(say(language, "status.leftover", **vars(left)))
        if session.by_other_lab:
            sentences.append(say(language, "status.other_lab"))
        if session.changed and session.status in CHANGED:
            sentences.append(say(language, f"status.{CHANGED[session.status]}"))
    return say(language, "sentence.space").join(sentences)


def _key(session: LabSession) -> str:
    recorded = session.current.run is not None
    if session.status == "ready":
        return "ready" if recorded else "unrecorded"
    if session.status == "running":
        return "running" if recorded else "starting"
    return session.status


def _values(session: LabSession) -> dict[str, object]:
    run = session.current.run
    done = 0 if run is None else len(run)
    return {
        "done": done,
        "steps": session.total if session.current.source == "trained" or run is None else done,
        "loss": run.records[-1].loss if run is not None else float("nan"),
        "seconds": session.seconds(),
        "events": describe_events(len(session.events()), done, session.state.language),
        "error": session.error,
    }
