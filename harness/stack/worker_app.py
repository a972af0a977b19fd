"""What `celery --app` loads in a worker that is started by the command line."""

from taskchaos.harness.stack.worker import application_from_environment

app = application_from_environment()
