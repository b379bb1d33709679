"""The worker: a process that computes for an application, told by lines on stdin, telling by lines on stdout.

It stays warm (networks stay loaded), does one computation at a time on one thread, and ends when stdin does, when its
parent does, or when asked to: what is under way is then cancelled. From a shell, let it finish instead::

    $ echo '{"id": "1", "command": "probe"}' | python -m CardioDiTLib.worker --finish

Requests and events: `CardioDiTLib.service.protocol`. Commands:

=================  ===================================================================  ==========
command            arguments                                                            thread
=================  ===================================================================  ==========
probe              none                                                                 compute
estimate           bundle, device, precision, backend                                   compute
generate           request, folder, gate, false_alarm                                   compute
save_cine          cine, path, multi_frame                                              transfer
segment            cine, folder, weights, device                                        compute
landmarks          cine, folder, segmentation, method, weights, device, and more        compute
function           segmentation, landmarks, heart_rate_bpm, folder, path, and more      compute
save_landmarks     landmarks, path                                                      transfer
audit_cines        cines, bundles or train, validation, encoder, false_alarm            compute
load_cine          path, folder                                                         transfer
complete           cine, folder, missing_slices, missing_frames, bundle, and more       compute
vary               cine, folder, strength, bundle, and more                             compute
models             none                                                                 transfer
model_card         name                                                                 transfer
verify             name                                                                 transfer
download           name                                                                 transfer
add_source         source                                                               transfer
import_bundle      path                                                                 transfer
import_published   stage1, stage1_config, dit, dit_config, name, and more               transfer
accept_licence     name                                                                 transfer
remove             name                                                                 transfer
ping               none: says that requests arrive                                      at once
cancel             target: id of a request                                              at once
shutdown           none                                                                 at once
=================  ===================================================================  ==========
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence

from CardioDiTLib.device import share_processors
from CardioDiTLib.errors import CardioDiTError
from CardioDiTLib.service.completion_jobs import CompletionJobs
from CardioDiTLib.service.generation_jobs import GenerationJobs
from CardioDiTLib.service.job import Handler, Job, Lane, run_job
from CardioDiTLib.service.measurement_jobs import MeasurementJobs
from CardioDiTLib.service.model_jobs import ModelJobs
from CardioDiTLib.service.parent_watch import watch_parent
from CardioDiTLib.service.privacy_jobs import PrivacyJobs
from CardioDiTLib.service.probe import probe
from CardioDiTLib.service.protocol import PROTOCOL_VERSION, EventWriter, ServiceRequest, claim_stdout, parse_request
from CardioDiTLib.version import __version__

AT_ONCE = ("cancel", "ping", "shutdown")
GRACE_S = 1.5
"""Seconds that jobs have to clean up after they were cancelled."""


class Worker:
    """Takes requests, hands them to the lanes, and keeps account of what is under way.

    Args:
        writer: Where events go.
    """

    def __init__(self, writer: EventWriter) -> None:
        self._writer = writer
        generation = GenerationJobs()
        completion = CompletionJobs()
        models = ModelJobs(generation, completion)
        measurement = MeasurementJobs()
        privacy = PrivacyJobs()
        self._lanes = {"compute": Lane("compute"), "transfer": Lane("transfer")}
        self._handlers: dict[str, tuple[str, Handler]] = {
            "probe": ("compute", probe),
            "estimate": ("compute", generation.estimate),
            "generate": ("compute", generation.generate),
            "save_cine": ("transfer", generation.save_cine),
            "segment": ("compute", measurement.segment),
            "landmarks": ("compute", measurement.landmarks),
            "function": ("compute", measurement.function),
            "save_landmarks": ("transfer", measurement.save_landmarks),
            "audit_cines": ("compute", privacy.audit_cines),
            "load_cine": ("transfer", privacy.load_cine),
            "complete": ("compute", completion.complete),
            "vary": ("compute", completion.vary),
            "models": ("transfer", models.models),
            "model_card": ("transfer", models.model_card),
            "verify": ("transfer", models.verify),
            "download": ("transfer", models.download),
            "add_source": ("transfer", models.add_source),
            "import_bundle": ("transfer", models.import_bundle),
            "import_published": ("transfer", models.import_published),
            "accept_licence": ("transfer", models.accept_licence),
            "remove": ("transfer", models.remove),
        }
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def ready(self) -> None:
        """Tell that requests may come."""
        self._writer.send(
            "ready",
            protocol=PROTOCOL_VERSION,
            version=__version__,
            python=platform.python_version(),
            pid=os.getpid(),
            commands=sorted([*self._handlers, *AT_ONCE]),
        )

    def serve(self, lines: Iterable[str]) -> None:
        """Take requests until the lines end or one of them says shutdown."""
        for line in lines:
            if line.strip() and not self._take(line):
                return

    def finish(self) -> None:
        """Wait for what is under way."""
        for lane in self._lanes.values():
            lane.close(None)

    def stop(self, grace_s: float = GRACE_S) -> bool:
        """Cancel everything; True once all has ended, False where that took too long."""
        with self._lock:
            for job in self._jobs.values():
                job.cancel.set()
        ended = [lane.close(grace_s) for lane in self._lanes.values()]
        return all(ended)

    def _take(self, line: str) -> bool:
        """Take one line; False where it says shutdown."""
        try:
            request = parse_request(line)
            if request.command == "shutdown":
                self._writer.send("result", request.id)
                return False
            if request.command == "ping":
                self._writer.send("result", request.id)
            elif request.command == "cancel":
                self._cancel(request)
            else:
                self._put(request)
        except CardioDiTError as error:
            self._writer.send("error", None, message=error.message, hint=error.hint, kind="problem", detail="")
        except Exception as error:  # one line must never cost the worker and all that it has loaded
            detail = " ".join(str(error).split())[:300]
            self._writer.send(
                "error", None, message="This line cannot be taken.", hint="", kind="unexpected", detail=detail
            )
        return True

    def _cancel(self, request: ServiceRequest) -> None:
        target = request.arguments.get("target")
        with self._lock:
            job = self._jobs.get(str(target))
            if job is not None:
                job.cancel.set()
        # a job that has ended meanwhile is no mistake
        self._writer.send("result", request.id, found=job is not None)

    def _put(self, request: ServiceRequest) -> None:
        if request.command not in self._handlers:
            self._writer.send(
                "error",
                request.id,
                message=f"The worker has no command {request.command!r}.",
                hint=f"Its commands are {', '.join(sorted([*self._handlers, *AT_ONCE]))}.",
                kind="problem",
                detail="",
            )
            return
        lane, handler = self._handlers[request.command]
        with self._lock:
            taken = request.id in self._jobs
            if not taken:
                job = self._jobs[request.id] = Job(request, self._writer)
        if taken:
            raise CardioDiTError(f"A request with the id {request.id!r} is under way.", "Give every request its own.")
        self._lanes[lane].put(self._running(job, handler))

    def _running(self, job: Job, handler: Handler) -> Callable[[], None]:
        def run() -> None:
            try:
                run_job(job, handler)
            finally:
                with self._lock:
                    self._jobs.pop(job.request.id, None)

        return run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a worker on this process's stdin and stdout until it is to end.

    Args:
        arguments: Words of the command line.
    """
    parser = argparse.ArgumentParser(prog="python -m CardioDiTLib.worker", description=__doc__.splitlines()[0])
    parser.add_argument("--parent-pid", type=int, help="also end when this process does")
    parser.add_argument("--background", action="store_true", help="give way to other programs, as the parent's window")
    parser.add_argument("--finish", action="store_true", help="at the end of stdin, finish what is under way")
    parsed = parser.parse_args(arguments)
    share_processors()
    if parsed.background:
        give_way()
    writer = EventWriter(claim_stdout(), when_lost=_end_now)
    worker = Worker(writer)

    def end() -> None:
        worker.stop()
        _end_now()

    watch_parent(parsed.parent_pid, end)
    for name in ("SIGTERM", "SIGHUP"):  # ended from outside, or with its terminal: jobs take back what they wrote
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: threading.Thread(target=end, daemon=True).start())
    worker.ready()
    # bytes, not text: a damaged byte must cost one line, not the worker
    worker.serve(line.decode("utf-8", errors="replace") for line in iter(sys.stdin.buffer.readline, b""))
    if parsed.finish:
        worker.finish()
    end()
    return 0  # pragma: no cover - `end` does not come back


def give_way() -> None:
    """Take a lower priority, so that an application's windows stay alive while all processors compute."""
    if sys.platform == "win32":
        import ctypes

        below_normal = 0x00004000
        kernel = ctypes.windll.kernel32
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), below_normal)
    else:
        os.nice(5)


def _end_now() -> None:
    """End without waiting for threads: a computation that hangs must not keep the process, and the GPU, busy."""
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
