#!/bin/sh
# A device in openssl, curl and mosquitto alone: enrols with a ticket, receives its keys, reports them.
# Usage: device.sh TICKET DIRECTORY   (for RSA: KEY_OPTIONS='-algorithm RSA -pkeyopt rsa_keygen_bits:2048')
# shellcheck disable=SC2086 # options are words
set -eu
umask 077
ticket=$(cat "$1"); mkdir -p "$2"; cd "$2"
field() { printf %s "$ticket" | tr -d ' \n' | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }
id=$(field device); realm=$(field realm); est=$(field est)/.well-known/est; http=$(field public); mqtt=$(field mqtt)
host=${mqtt#mqtts://}; port=${host##*:}; host=${host%:*}; topic=croupier/$realm/$id
now() { date -u +%Y-%m-%dT%H:%M:%S.000Z; }
sha256() { openssl dgst -sha256 -r "$@" | cut -d' ' -f1; }
# 1. The root, fetched without trust, must be the one of the ticket.
curl -sSfk "$est/cacerts" | openssl base64 -d -A | openssl pkcs7 -inform DER -print_certs -out cas.pem
csplit -sz -f ca- cas.pem '/^subject/' '{*}'
for ca in ca-*; do [ "$(openssl x509 -in "$ca" -outform DER | sha256)" != "$(field root)" ] || openssl x509 -in "$ca" -out root.pem; done
[ -s root.pem ] || { echo 'the root is not the one of the ticket' >&2; exit 1; }
# 2. A key pair of its own, a request, a certificate. The code goes to curl by file, not by argument.
openssl genpkey ${KEY_OPTIONS:--algorithm EC -pkeyopt ec_paramgen_curve:P-256} -out key.pem 2>/dev/null
openssl req -new -key key.pem -subj "/CN=$id" -outform DER | openssl base64 -A -out request
printf 'user = "%s:%s"\n' "$id" "$(field code)" > login
curl -sSf --cacert root.pem -K login -H 'Content-Type: application/pkcs10' --data-binary @request "$est/simpleenroll" |
  openssl base64 -d -A | openssl pkcs7 -inform DER -print_certs | openssl x509 -out cert.pem
rm login
# 3. The trust bundle, signed by a message signer under the root.
curl -sSf "$http/trust/latest" -o trust.der
openssl cms -verify -inform DER -in trust.der -CAfile root.pem -out trust.json 2>/dev/null
trust=$(sed -n 's/.*"type":"trust-bundle".*"version":\([0-9]*\).*/\1/p' trust.json)
# 4. Reports: JSON, signed with the device's key, each naming the one before.
serial=$(openssl x509 -in cert.pem -noout -serial | cut -d= -f2 | tr A-F a-f)
end=$(date -u -d "$(openssl x509 -in cert.pem -noout -enddate | cut -d= -f2)" +%Y-%m-%dT%H:%M:%S.000Z)
spki=$(openssl pkey -in key.pem -pubout -outform DER | sha256)
boot=$(openssl rand -hex 16 | sed 's/^\(.\{8\}\)\(.\{4\}\).\(.\{3\}\).\(.\{3\}\)\(.*\)$/\1-\2-4\3-8\4-\5/')
report() { # counter, last seq, keyrings, digest of the report before
  printf '{"v":1,"type":"report","realm":"%s","device":"%s","bootId":"%s","counter":%s,"nonce":"%s","lastSeq":%s,"trustVersion":%s,' \
    "$realm" "$id" "$boot" "$1" "$(openssl rand 18 | openssl base64 -A | tr +/ -_)" "$2" "$trust" > body
  printf '"identity":{"serial":"%s","notAfter":"%s","keyFingerprint":"%s"},"keyrings":[%s],"results":[],"previous":%s,' \
    "$serial" "$end" "$spki" "$3" "$4" >> body
  printf '"clock":{"now":"%s","trusted":true},"agent":{"version":"sh","platform":"openssl"}}' "$(now)" >> body
  openssl cms -sign -binary -nodetach -md sha256 -signer cert.pem -inkey key.pem -in body -outform DER -out "report-$1.der"
}
client="-h $host -p $port --cafile root.pem --cert cert.pem --key key.pem -i $id -q 1"
# 5. Say hello, then listen for the update that answers; open it only once its signature holds.
report 1 0 '' null
mosquitto_pub $client -t "$topic/report" -f report-1.der
mosquitto_sub $client -t "$topic/update" -C 1 -W 60 -N > update.der
openssl cms -verify -inform DER -in update.der -CAfile root.pem -out update.json 2>/dev/null
rings='' seq=$(sed 's/.*"seq":\([0-9]*\).*/\1/' update.json)
for ring in $(grep -o '"keySet":"[^"]*","revision":[0-9]*,"active":[0-9]*' update.json | tr -d '"'); do
  set=${ring#keySet:}; set=${set%%,*}; active=${ring##*:}; revision=${ring#*revision:}; revision=${revision%%,*}
  entry=$(sed "s/.*\"keySet\":\"$set\"[^]]*][^]]*][^]]*\(\"version\":$active,[^}]*\)}.*/\1/" update.json)
  printf %s "$entry" | sed 's/.*"envelope":"\([^"]*\)".*/\1/' | openssl base64 -d -A -out envelope.der
  openssl cms -decrypt -inform DER -in envelope.der -recip cert.pem -inkey key.pem | tail -c 32 > "$set.key"
  kcv=$(printf %s "$entry" | sed 's/.*"kcv":"\([^"]*\)".*/\1/')
  rings="$rings${rings:+,}{\"keySet\":\"$set\",\"revision\":$revision,\"active\":$active,\"versions\":[{\"version\":$active,\"state\":\"active\",\"kcv\":\"$kcv\"}]}"
done
# 6. Report what is held now: only this moves the device's state in the gateway.
report 2 "$seq" "$rings" "\"$(sha256 report-1.der)\""
mosquitto_pub $client -t "$topic/report" -f report-2.der
ls ./*.key
