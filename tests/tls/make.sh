#!/bin/sh
# Makes the files that README.md lists. Needs openssl 3 and keytool.
set -eu
cd "$(dirname "$0")"
t=$(mktemp -d)
trap 'rm -r "$t"' EXIT
days=36500
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$t/$1.key"; }
authority() {
    key "$1"
    openssl req -x509 -new -key "$t/$1.key" -days $days -subj "/CN=test authority" -out "$1.pem" \
        -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
}
# name, authority, subject, extensions (none: version 1)
leaf() {
    key "$1"
    openssl req -new -key "$t/$1.key" -subj "$3" -out "$t/$1.csr"
    set -- "$1" "$2" "$3" "${4:-}"
    if [ -n "$4" ]; then
        echo "$4" > "$t/ext"
        openssl x509 -req -in "$t/$1.csr" -CA "$2.pem" -CAkey "$t/$2.key" -CAcreateserial -CAserial "$t/serial" \
            -days $days -extfile "$t/ext" -out "$t/$1.crt"
    else
        openssl x509 -req -in "$t/$1.csr" -CA "$2.pem" -CAkey "$t/$2.key" -CAcreateserial -CAserial "$t/serial" \
            -days $days -out "$t/$1.crt"
    fi
    cat "$t/$1.key" "$t/$1.crt" > "$1.pem"
}
authority ca
authority other-ca
leaf server ca /CN=localhost "subjectAltName=DNS:localhost,IP:127.0.0.1"
leaf client ca "/C=DE/O=Acme, Inc./OU=a\\+b/CN=ann" "extendedKeyUsage=clientAuth"
leaf client-v1 ca /CN=old
leaf stranger other-ca /CN=ann "extendedKeyUsage=clientAuth"
leaf stranger-v1 other-ca /CN=old
openssl pkey -in "$t/server.key" -aes256 -passout pass:secret -out "$t/encrypted.key"
cat "$t/encrypted.key" "$t/server.crt" > encrypted.pem
openssl pkcs12 -export -in server.pem -passout pass:secret -name server -out store.p12
rm -f store.jks
keytool -importkeystore -srckeystore store.p12 -srcstorepass secret -destkeystore store.jks -deststoretype JKS \
    -deststorepass secret -noprompt
