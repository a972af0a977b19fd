"""A Django project: tasks that are sent when the transaction is committed, run by a worker of locked_retry."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from server_process import Server
from waiting import until

SETTINGS = """
import os
SECRET_KEY = "x"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(os.path.dirname(__file__), "db")}}
INSTALLED_APPS = []
USE_TZ = True
"""
APP = """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
from celery import Celery
import locked_retry

app = Celery("shop", broker=os.environ["TESTED_URL"], task_cls="locked_retry.django:LockedDjangoTask")
app.conf.update(task_ignore_result=True)
locked_retry.install(app)


@app.task(bind=True, name="note", max_retries=3)
def note(self, name):
    if self.request.retries < 1:
        raise self.retry(countdown=0.01)
    with open(os.environ["TESTED_JOURNAL"], "a") as out:
        out.write(f"{name} {self.fence > 0}\\n")
"""
SEND = """
import shop.celery
import django
django.setup()
from django.db import transaction
from shop.celery import note

with transaction.atomic():
    note.delay_on_commit("committed")
    note.apply_async_on_commit(("later",), countdown=0.2)
    assert not shop.celery.app.connection().default_channel.client.llen("celery"), "nothing is sent yet"
try:
    with transaction.atomic():
        note.delay_on_commit("rolled back")
        raise KeyError
except KeyError:
    pass
"""


def test_tasks_are_sent_on_commit(
    shared_server: Server, tmp_path: Path, require: Callable[[str, bool, str], None]
) -> None:
    require("django", importlib.util.find_spec("django") is not None, "Django is not installed")
    shared_server.client.flushall()
    project, journal = tmp_path / "shop", tmp_path / "journal"
    project.mkdir()
    (project / "__init__.py").touch()
    (project / "settings.py").write_text(SETTINGS)
    (project / "celery.py").write_text(APP)
    environment = {**os.environ, "TESTED_URL": shared_server.url, "TESTED_JOURNAL": str(journal)}
    command = [sys.executable, "-m", "celery", "-A", "shop.celery", "worker", "-c1", "--without-gossip"]
    with (tmp_path / "log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        done = subprocess.run([sys.executable, "-c", SEND], cwd=tmp_path, env=environment, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        until(
            lambda: journal.exists() and journal.read_text().count("\n") == 2,
            lambda: (tmp_path / "log").read_text()[-2000:],
        )
    finally:
        worker.terminate()
        worker.wait(20)
    assert sorted(journal.read_text().split("\n")) == ["", "committed True", "later True"]
