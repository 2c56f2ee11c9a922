#!/usr/bin/env bash
# Makes a self-signed certificate (RSA-2048, ten years) and its key for qdt-server, and prints its
# pin.
#
#   scripts/gen-cert.sh cert.pem key.pem [name or address ...]
#
# The names and addresses are those clients reach the server at; without any, the name of this host.
# Files that exist are never overwritten. qdt-server makes a certificate on its own at its first
# start: this script is for making one on another machine.
set -euo pipefail

usage() {
    echo "usage: ${0##*/} cert.pem key.pem [name or address ...]" >&2
    exit 2
}

[[ ${1-} != -h && ${1-} != --help ]] || {
    sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
    exit 0
}
(($# >= 2)) || usage
certificate=$1
key=$2
shift 2
[[ $certificate != -* && $key != -* && -n $certificate && -n $key ]] || usage
for file in "$certificate" "$key"; do
    if [[ -e $file || -L $file ]]; then
        echo "${0##*/}: $file exists and is not overwritten: move it away, or choose another name" >&2
        exit 1
    fi
done
command -v openssl >/dev/null || {
    echo "${0##*/}: openssl is missing: apt-get install openssl" >&2
    exit 1
}

(($#)) || set -- "$(hostname)"
names=
for name in "$@"; do
    if [[ $name == *:* || $name =~ ^[0-9]+(\.[0-9]+){3}$ ]]; then names+=,IP:$name; else names+=,DNS:$name; fi
done

# Complete or not at all: an interrupted run leaves no half of a pair under the names that were
# asked for.
umask 077
parts=("$certificate.$$" "$key.$$")
trap 'rm -f "${parts[@]}"' EXIT
openssl req -x509 -newkey rsa:2048 -sha256 -nodes -days 3653 -batch \
    -subj "/CN=$1" -addext "subjectAltName=${names#,}" \
    -addext "basicConstraints=critical,CA:FALSE" -addext "extendedKeyUsage=serverAuth" \
    -out "${parts[0]}" -keyout "${parts[1]}" 2>"${parts[0]}.err" || {
    cat "${parts[0]}.err" >&2
    rm -f "${parts[0]}.err"
    exit 1
}
rm -f "${parts[0]}.err"
chmod 644 "${parts[0]}"
ln "${parts[1]}" "$key"
ln "${parts[0]}" "$certificate" || {
    rm -f "$key"
    exit 1
}

pin=$(openssl x509 -in "$certificate" -noout -pubkey | openssl pkey -pubin -outform DER |
    openssl dgst -sha256 -binary | base64)
echo "$certificate and $key for $*"
echo "server_pin: sha256/$pin"
