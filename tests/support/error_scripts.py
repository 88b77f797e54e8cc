"""Errors of one's own, joins that cannot be met and what fails afterwards: run by both drivers in `test_parity.py`."""

from tests.support.parity_scripts import Answer, Script, agent

OWN_ERRORS = Script(
    steps=[
        {
            "id": "checked",
            "sequential": {
                "steps": [
                    agent("judge", "judge it"),
                    {
                        "id": "refuse",
                        "when": "${{ steps.judge.output == 'bad' }}",
                        "fail": {"type": "not_approved", "message": "The judge says ${{ steps.judge.output }}."},
                    },
                    {"id": "unseen", "transform": "never"},
                ]
            },
            "on_error": [
                {"catch": ["not_approved"], "steps": [{"id": "why", "transform": "${{ error.message }}"}]},
            ],
        },
        {
            "id": "short",
            "graph": {
                "nodes": [
                    {"id": "begin", "transform": 0},
                    agent("left", "go left"),
                    {"id": "right", "when": "${{ false }}", "transform": 1},
                    {"id": "meet", "join": {"at_least": 2}, "transform": "never"},
                    {"id": "behind", "transform": "never"},
                ],
                "edges": [
                    {"from": "begin", "to": "left"},
                    {"from": "begin", "to": "right"},
                    {"from": "left", "to": "meet"},
                    {"from": "right", "to": "meet"},
                    {"from": "meet", "to": "behind"},
                ],
            },
            "on_error": [{"catch": ["join_unmet"], "steps": [{"id": "unmet", "transform": "${{ error.message }}"}]}],
        },
        {
            "id": "revised",
            "graph": {
                "start": "draft",
                "nodes": [
                    agent("draft", "after {{ last }}", input={"last": "${{ steps.draft.output }}"}, join="any"),
                    {"id": "withered", "transform": "never"},
                    {"id": "beyond", "transform": "never"},
                    {"id": "done", "transform": "${{ [steps.draft.output, steps.withered.status] }}"},
                ],
                "edges": [
                    {"from": "draft", "to": "draft", "when": "${{ steps.draft.output != 'second' }}"},
                    {"from": "draft", "to": "withered", "when": "${{ steps.draft.output == 'third' }}"},
                    {"from": "withered", "to": "beyond"},
                    {"from": "draft", "to": "done", "when": "${{ steps.draft.output == 'second' }}"},
                ],
            },
        },
        {
            "id": "statuses",
            "transform": "${{ [steps.checked.status, steps.refuse.status, steps.unseen.status, steps.right.status, "
            "steps.meet.status, steps.behind.status, steps.withered.status, steps.beyond.status] }}",
        },
        {
            "id": "kept",
            "transform": 1,
            "compensate": {"id": "undo", "fail": {"type": "stuck", "message": "It cannot be undone."}},
        },
        {"id": "stop", "fail": {"type": "out_of_stock", "message": "None is left."}},
        {"id": "after", "transform": "never"},
    ],
    answers={
        "checked/judge": [Answer("bad")],
        "short/left": [Answer("left")],
        "revised/draft": [Answer("first")],
        "revised/draft@1": [Answer("second")],
        "clean": [Answer("cleaned")],
    },
    says={
        "checked/judge": "judge it",
        "short/left": "go left",
        "revised/draft": "after None",
        "revised/draft@1": "after first",
        "clean": "found succeeded, failed, skipped",
    },
    fields={
        "finally": [
            agent(
                "clean",
                "found {{ kept }}, {{ stop }}, {{ after }}",
                input={name: f"${{{{ steps.{name}.status }}}}" for name in ("kept", "stop", "after")},
            ),
            {"id": "again", "fail": {"type": "unclean", "message": "${{ error.type }} was first."}},
        ]
    },
)
