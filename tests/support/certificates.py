"""Certificates made by the openssl command, for one test."""

import os
import shutil
import subprocess

from program import Skipped


class Certificate:
    """NAME.pem and NAME.key in a folder; signed by itself."""

    def __init__(self, folder, name, hosts=("localhost",)):
        self.path = os.path.join(folder, name + ".pem")
        self.key = os.path.join(folder, name + ".key")
        if not shutil.which("openssl"):
            raise Skipped("openssl is not installed")
        names = [("IP:" if host[0].isdigit() else "DNS:") + host for host in hosts]
        command = "openssl req -x509 -newkey ec -nodes -pkeyopt ec_paramgen_curve:prime256v1"
        subprocess.run(
            command.split()
            + ["-days", "2", "-subj", f"/CN={hosts[0]}"]
            + ["-addext", "subjectAltName=" + ",".join(names)]
            + ["-keyout", self.key, "-out", self.path],
            check=True,
            stderr=subprocess.DEVNULL,
        )

    def expire(self):
        """It was good until yesterday."""
        command = ["openssl", "x509", "-signkey", self.key, "-days", "-1"]
        with open(self.path, "rb") as file:
            pem = file.read()
        subprocess.run(
            [*command, "-out", self.path], input=pem, check=True, stderr=subprocess.DEVNULL
        )

    def becomes(self, other):
        """The same paths have what is in the other's from now on."""
        for mine, others in ((self.path, other.path), (self.key, other.key)):
            shutil.copy(others, mine + ".new")
            os.rename(mine + ".new", mine)
