"""The application on Ray Serve. The only module of this package that knows Ray."""

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.schema import LoggingConfig

from schemas.settings import Settings

APPLICATION = "devskyy"


def build(settings: Settings) -> Any:
    """The Serve application of these settings, ready for `serve.run`."""
    text = settings.dump()

    def app() -> FastAPI:
        from serve.app import make_app

        return make_app(Settings.load(text))

    deployment = serve.deployment(
        name="http",
        num_replicas=1,
        # The default of 5 would queue the sixth long poll behind five idle ones.
        max_ongoing_requests=10_000,
        ray_actor_options={"num_cpus": 0},
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=5,
        # Requests are counted by `Observed`; a line for each would cost more than the routing of it.
        logging_config=LoggingConfig(enable_access_log=False),
    )

    @serve.ingress(app)
    class Http:
        """Doors of the platform."""

    return deployment(Http).bind()


def run(settings: Settings) -> None:
    """Start Serve on the platform's host and port, with the application at its root.

    Returns once Serve has taken the application; its door opens when `/health/ready` says so.
    """
    serve.start(http_options={"host": settings.http_host, "port": settings.http_port})
    if APPLICATION in serve.status().applications:
        return  # it outlived the process that started it, and its replicas have work in hand
    target = serve.RunTarget(build(settings), name=APPLICATION, route_prefix="/")
    serve.run_many([target], wait_for_applications_running=False)
