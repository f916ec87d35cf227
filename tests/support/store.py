"""A store of a test's own: a folder, and a server in it where it is Redis."""

import os
import shutil
import tempfile

from program import Program


class OwnStore:
    def __init__(self, back_end, folder=None):
        self.folder = folder or tempfile.TemporaryDirectory(prefix="muster-")
        self.path = self.folder.name
        self.server = None
        self.url = f"lmdb:{self.path}/store"
        if back_end == "redis":
            self.url = f"unix:{self.path}/redis.sock"
            options = ["--port", "0", "--unixsocket", f"{self.path}/redis.sock"]
            options += ["--dir", self.path, "--save", "", "--appendonly", "no"]
            self.server = Program(shutil.which("redis-server"), *options)
            self.server.__enter__()
            self.server.expect("eady to accept connections")

    @property
    def environment(self):
        return {"MUSTER_STORE": self.url, "XDG_RUNTIME_DIR": self.path}

    def close(self, *failure):
        if self.server:
            self.server.__exit__(*(failure or (None, None, None)))
        self.folder.cleanup()
