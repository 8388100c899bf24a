"""Who a client is: digest and the superuser, certificates over TLS, SASL, and what must be proved.

Ends with 0 and the word PASSED, or with what was not as it should be.
"""

import logging
import os
import sys
import time

from ensemble import Ensemble, free_ports
from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, InvalidACLError, NoAuthError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.security import make_acl, make_digest_acl

logging.disable(logging.CRITICAL)

TLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tls")
# What openssl and Java call the subject of client.pem.
ANN = "CN=ann,OU=a\\+b,O=Acme\\, Inc.,C=DE"
JAAS = """
Server {
    org.apache.zookeeper.server.auth.DigestLoginModule required
    user_ann="secret"
    user_bob="other secret";
};
"""
checks = 0


def check(condition, what):
    global checks
    checks += 1
    if not condition:
        sys.exit(f"FAILED: {what}")
    print(f"ok: {what}", flush=True)


def raises(error, action, what):
    try:
        action()
    except error:
        return check(True, what)
    except Exception as other:  # noqa: BLE001
        return check(False, f"{what}: {other!r}")
    check(False, f"{what}: nothing was raised")


def pem(name):
    return os.path.join(TLS, name)


def connect(hosts, wait=10, **options):
    client = KazooClient(hosts=hosts, timeout=8, **options)
    client.start(timeout=wait)
    return client


def with_certificate(hosts, name, **options):
    return connect(
        hosts, use_ssl=True, ca=pem("ca.pem"), keyfile=name and pem(name), certfile=name and pem(name), **options
    )


def with_sasl(hosts, user, password):
    options = {"mechanism": "DIGEST-MD5", "username": user, "password": password}
    client = connect(hosts, sasl_options=options)
    client.exists("/")  # Connected is not yet authenticated.
    return client


def digests(hosts):
    ann = connect(hosts, auth_data=[("digest", "ann:secret")])
    nobody = connect(hosts)
    ann.create("/digest", b"x", acl=[make_digest_acl("ann", "secret", all=True)])
    nobody.sync("/digest")
    raises(NoAuthError, lambda: nobody.get("/digest"), "an ACL keeps out who has not said the password")
    nobody.add_auth("digest", "super:test")
    check(nobody.get("/digest")[0] == b"x", "the superuser reads everything")
    raises(AuthFailedError, lambda: ann.add_auth("kerberos", "x"), "a scheme that is unknown fails")
    ann.stop()
    ann = connect(hosts, auth_data=[("digest", "ann:secret")])
    ann.delete("/digest")
    ann.stop()
    nobody.stop()


def certificates(plain, secure):
    ann = with_certificate(secure, "client.pem")
    old = with_certificate(secure, "client-v1.pem")
    ann.create("/x509", b"x", acl=[make_acl("x509", ANN, all=True)])
    old.sync("/x509")
    raises(NoAuthError, lambda: old.get("/x509"), "an ACL for one certificate keeps out another")
    ann.create("/mine", acl=[make_acl("auth", "", all=True)])
    check(ann.get_acls("/mine")[0][0].id.id == ANN, "auth stands for the subject of the certificate")
    ann.set("/x509", b"y")
    big = bytes(900_000)
    ann.create("/big", big)
    check(old.sync("/big") and old.get("/big")[0] == big, "large data go through TLS")
    nobody = connect(plain)
    raises(NoAuthError, lambda: nobody.get("/x509"), "without a certificate nobody is meant")
    for name in ["stranger.pem", "stranger-v1.pem", None]:
        refused = lambda shown=name: with_certificate(secure, shown, wait=3)  # noqa: E731
        raises(KazooTimeoutError, refused, f"TLS ends where the certificate is {name}")
    raises(KazooTimeoutError, lambda: KazooClient(hosts=secure).start(timeout=3), "the secure port speaks TLS only")
    for path in ["/big", "/mine", "/x509"]:
        ann.delete(path)
    for client in (ann, old, nobody):
        client.stop()


def sasl(hosts):
    ann = with_sasl(hosts, "ann", "secret")
    bob = with_sasl(hosts, "bob", "other secret")
    ann.create("/sasl", b"x", acl=[make_acl("sasl", "ann", all=True)])
    bob.sync("/sasl")
    raises(NoAuthError, lambda: bob.get("/sasl"), "an ACL for one SASL user keeps out another")
    check(ann.get("/sasl")[0] == b"x", "a SASL user is known by its name")
    raises(InvalidACLError, lambda: ann.create("/bad", acl=[make_acl("sasl", "a@b@c", all=True)]), "a name has a form")
    for user, password in [("ann", "guess"), ("eve", "secret"), ("ann", "")]:
        refused = lambda u=user, p=password: with_sasl(hosts, u, p)  # noqa: E731
        raises(AuthFailedError, refused, f"{user}:{password} is refused")
    ann.delete("/sasl")
    ann.stop()
    bob.stop()


def sessions(ensemble):
    client = connect(ensemble.host(1))
    client.create("/own", ephemeral=True)
    session, password = client.client_id

    def resume(password):
        return connect(ensemble.host(2), client_id=(session, password))

    thief = resume(bytes(16))
    check(thief.client_id[0] != session, "without its password a session is not had")
    thief.stop()
    heir = resume(password)
    check(heir.client_id[0] == session, "its password opens a session at every server")
    check(heir.exists("/own"), "and its ephemerals are there")
    heir.stop()


def enforced(binary, directory):
    jaas = os.path.join(directory, "jaas.conf")
    lines = [f"java.security.auth.login.config={jaas}", "sessionRequireClientSASLAuth=true"]
    ensemble = Ensemble(binary, 1, lambda sid: lines)
    try:
        ensemble.start_all()
        while ensemble.mode(1) != "standalone":
            ensemble.check_alive()
            time.sleep(0.1)
        nobody = connect(ensemble.hosts)
        raises(Exception, lambda: nobody.get("/"), "nothing is answered before SASL where it is required")
        nobody.stop()
        ann = with_sasl(ensemble.hosts, "ann", "secret")
        check(ann.get_children("/") == ["zookeeper"], "who has proved it is served")
        ann.stop()
    finally:
        ensemble.stop_all()


def main(binary):
    secure = dict(zip([1, 2, 3], free_ports(3)))
    jaas = []

    def lines(sid):
        return [
            "DigestAuthenticationProvider.superDigest=super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
            f"java.security.auth.login.config={jaas[0]}",
            f"secureClientPort={secure[sid]}",
            "secureClientPortAddress=127.0.0.1",
            f"ssl.keyStore.location={pem('server.pem')}",
            f"ssl.trustStore.location={pem('ca.pem')}",
        ]

    ensemble = Ensemble(binary, 3, lines)
    jaas.append(os.path.join(ensemble.dir, "jaas.conf"))
    with open(jaas[0], "w") as file:
        file.write(JAAS)
    try:
        ensemble.start_all()
        ensemble.wait_serving()
        hosts = ",".join(f"127.0.0.1:{port}" for port in secure.values())
        digests(ensemble.hosts)
        certificates(ensemble.hosts, hosts)
        sasl(ensemble.hosts)
        sessions(ensemble)
        enforced(binary, ensemble.dir)
    finally:
        ensemble.stop_all()
    print(f"PASSED: {checks} checks")


main(sys.argv[1])
