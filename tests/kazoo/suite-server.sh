#!/bin/sh
# A server under kazoo's own test suite: what the suite gives to Java in flags and key stores, it gets as
# options and as one PEM file.
#   tests/kazoo/suite-server.sh BINARY CONFIG JAAS SUPER_DIGEST KEY.pem CERTIFICATE.pem AUTHORITY.pem
set -eu
umask 077
cat "$5" "$6" > "$2.pem"
exec "$1" server --config "$2" -Dreadonlymode.enabled=true "-Djava.security.auth.login.config=$3" \
    "-Dzookeeper.DigestAuthenticationProvider.superDigest=$4" \
    "-Dzookeeper.ssl.keyStore.location=$2.pem" "-Dzookeeper.ssl.trustStore.location=$7"
