"""Runs the steps of a workflow or an action as GitHub does, as far as ours go: expressions, environment, and files."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

#: What a runner hands on of this machine to the steps.
HANDED_ON = ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE")


def filled(text: object, **contexts: dict[str, Any]) -> str:
    """A value with its expressions replaced: names, texts and `a || b` are what ours use."""

    def term(word: str) -> str:
        if word.startswith("'"):
            return word.strip("'")
        context, *path = word.split(".")
        value: Any = contexts[context]
        for name in path:
            value = (value or {}).get(name)
        return "" if value is None else str(value)

    def value(match: re.Match[str]) -> str:
        return next((found for word in match[1].split("||") if (found := term(word.strip()))), "")

    return re.sub(r"\$\{\{(.*?)\}\}", value, str(text))


def handed_on(*first: Path) -> dict[str, str]:
    """The environment of a job: nothing of the tests'. first: folders of commands that go before."""
    env = {name: value for name, value in os.environ.items() if name in HANDED_ON or name.startswith("PIP_")}
    return env | {"PATH": ":".join([*map(str, first), env["PATH"]]), "CI": "true"}


@dataclass
class ActionRun:
    """A composite action, used in a repository. used: the actions of others in its steps, with what they were given."""

    action: dict[str, Any]
    source: Path
    repository: Path
    runner: Path
    inputs: dict[str, str]
    env: dict[str, str]
    failed: str = ""
    log: str = ""
    used: dict[str, dict[str, str]] = field(default_factory=dict)
    _outputs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = self.action["inputs"]
        assert self.inputs.keys() <= known.keys(), "an input that there is not"
        assert all(name in self.inputs for name, one in known.items() if one.get("required"))
        self.inputs = {name: self.inputs.get(name, one.get("default", "")) for name, one in known.items()}
        self.runner.mkdir(parents=True, exist_ok=True)

    @property
    def summary(self) -> str:
        """The job's summary."""
        path = self.runner / "summary.md"
        return path.read_text() if path.exists() else ""

    @property
    def outputs(self) -> dict[str, str]:
        """The action's outputs."""
        return {name: self._filled(one["value"]) for name, one in self.action["outputs"].items()}

    def run(self) -> ActionRun:
        """Run all steps: after one that failed, those that say `always()`."""
        for step in self.action["runs"]["steps"]:
            if self._holds(step.get("if", "")):
                if "uses" in step:
                    self.used[step["uses"].partition("@")[0]] = {
                        k: self._filled(v) for k, v in step.get("with", {}).items()
                    }
                else:
                    self._script(step)
        return self

    def _filled(self, text: object) -> str:
        return filled(text, inputs=self.inputs, github={"run_number": 71}, steps=self._outputs)

    def _holds(self, condition: str) -> bool:
        terms = [term.strip() for term in condition.split("&&") if term.strip()]
        if self.failed and "always()" not in terms:
            return False
        for term in terms:
            if term != "always()":
                name, wanted = term.split(" != ")
                if self._filled("${{ " + name + " }}") == wanted.strip("'"):
                    return False
        return True

    def _script(self, step: dict[str, Any]) -> None:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "what somebody typed into an input must not become a part of a script"
        output = self.runner / "output"
        output.write_text("")
        env = {name: self._filled(value) for name, value in step.get("env", {}).items()}
        env |= {"GITHUB_ACTION_PATH": str(self.source), "RUNNER_TEMP": str(self.runner), "GITHUB_OUTPUT": str(output)}
        env |= {"GITHUB_STEP_SUMMARY": str(self.runner / "summary.md"), "GITHUB_WORKSPACE": str(self.repository)}
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
            cwd=self.repository / self._filled(step.get("working-directory", ".")),
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
        )
        self.log += done.stdout
        lines = [line.split("=", 1) for line in output.read_text().splitlines()]
        self._outputs[step.get("id", step["name"])] = {"outputs": dict(lines)}
        if done.returncode:
            self.failed = step["name"]
