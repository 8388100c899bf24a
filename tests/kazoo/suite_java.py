"""Stands in for `java` when kazoo's suite starts a ZooKeeper: runs keepright with what Java is told.

What the suite gives in key stores of Java, next to the configuration, is written as PEM there.
"""

import base64
import os
import sys
import textwrap

import jks

PASSWORD = "apassword"


def pem(kind, der):
    lines = textwrap.wrap(base64.b64encode(der).decode(), 64)
    return "\n".join([f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----", ""])


def main():
    config = sys.argv[-1]
    options = dict(option[2:].partition("=")[::2] for option in sys.argv if option.startswith("-D"))
    home = os.path.dirname(config)
    keys = jks.KeyStore.load(os.path.join(home, "keystore.jks"), PASSWORD)
    trusted = jks.KeyStore.load(os.path.join(home, "truststore.jks"), PASSWORD)
    (key,) = keys.private_keys.values()
    files = {
        "key.pem": [pem("PRIVATE KEY", key.pkey_pkcs8)],
        "certificate.pem": [pem("CERTIFICATE", der) for _, der in key.cert_chain],
        "authority.pem": [pem("CERTIFICATE", entry.cert) for entry in trusted.certs.values()],
    }
    for name, parts in files.items():
        with open(os.path.join(home, name), "w") as file:
            file.writelines(parts)
    log = os.open(os.path.join(os.environ["SUITE_LOGS"], f"{os.path.basename(home)}.log"), os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(log, 1)
    os.dup2(log, 2)
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "suite-server.sh")
    os.execv(
        script,
        [
            script,
            os.environ["KEEPRIGHT"],
            config,
            options["java.security.auth.login.config"],
            options["zookeeper.DigestAuthenticationProvider.superDigest"],
            *(os.path.join(home, name) for name in files),
        ],
    )


main()
