#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# Signatures of images, by minisign too, and of manifests, by OpenSSL too.

load helper

setup_file()
{
	e2e_setup_file
	mkdir -p "$BATS_FILE_TMPDIR/keys" && cd "$BATS_FILE_TMPDIR/keys" || return 1
	gvmkit build "$IMAGES/layers.tar" -o a.gvmi
	gvmkit sign --generate me --no-password
	openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -subj /CN=ca -days 2 2>/dev/null
	openssl req -newkey rsa:2048 -nodes -keyout author.key -out author.csr -subj /CN=author 2>/dev/null
	openssl x509 -req -in author.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out author.crt -days 2 2>/dev/null
	export KEYS=$PWD
}
setup() { e2e_setup; cp "$KEYS"/* .; }
teardown() { assert_nothing_left; }

@test "minisign checks what gvmkit signs, and gvmkit what minisign signs" {
	run -0 gvmkit sign --key me.key --name me/thing:1 a.gvmi
	[ "$output" = a.gvmi.minisig ]
	run -0 minisign -Vm a.gvmi -p me.pub
	[[ $output == *"gvmkit sha3-224:$(gvmkit hash a.gvmi | cut -d' ' -f1) size:$(stat -c %s a.gvmi) timestamp:"*' name:me/thing:1'* ]]
	run -0 gvmkit verify --key me.pub a.gvmi
	[[ $output == 'a.gvmi: ok, '*', signed as me/thing:1' ]]

	minisign -G -W -p mini.pub -s mini.key >/dev/null
	minisign -S -s mini.key -m a.gvmi >/dev/null
	run -0 gvmkit verify --key mini.pub a.gvmi
	[[ $output == *', signed' ]]
	gvmkit sign --key mini.key a.gvmi
	minisign -Vm a.gvmi -p mini.pub
	gvmkit sign --key me.key a.gvmi
	minisign -S -s me.key -m a.gvmi >/dev/null
	gvmkit verify --key "$(sed -n 2p me.pub)" a.gvmi
}

@test "a signature is of one image and one key" {
	gvmkit sign --key me.key a.gvmi
	run -1 gvmkit verify --key <(gvmkit sign --generate other --no-password >/dev/null && cat other.pub) a.gvmi
	[[ $output == *'another key'* ]]
	gvmkit build "$IMAGES/user.tar" -o b.gvmi
	run -1 gvmkit verify --key me.pub b.gvmi
	[[ $output == *'no signature'* ]]
	run -1 gvmkit verify --key me.pub --signature a.gvmi.minisig b.gvmi
	[[ $output == *'not what was signed'* ]]
	sed -i 's/name:a.gvmi/name:b.gvmi/' a.gvmi.minisig
	run -1 gvmkit verify --key me.pub a.gvmi
	[[ $output == *'signature is wrong'* ]]
	[ "${#lines[@]}" -eq 1 ]
}

@test "a secret key has a password, and is never overwritten" {
	run -0 gvmkit sign --generate mine --password-file <(echo words)
	[ "$(stat -c %a mine.key)" = 600 ]
	run -1 gvmkit sign --generate mine --password-file <(echo words)
	[[ $output == *'mine.'*exist* ]]
	run -1 gvmkit sign --key mine.key --password-file <(echo wrong) a.gvmi
	[[ $output == *'password is wrong'* ]]
	[ ! -e a.gvmi.minisig ]
	run -1 setsid -w gvmkit sign --key mine.key a.gvmi </dev/null
	[[ $output == *--password-file* ]]
	echo words | gvmkit sign --key mine.key --password-file - a.gvmi
	minisign -Vm a.gvmi -p mine.pub
}

@test "only images are signed" {
	echo text >text
	run -1 gvmkit sign --key me.key text
	[ ! -e text.minisig ]
	run -2 gvmkit sign a.gvmi
	run -2 gvmkit sign --key me.key
	run -2 gvmkit verify --signature a.gvmi.minisig a.gvmi
}

@test "a manifest is made, signed and checked as OpenSSL and a provider do" {
	gvmkit manifest create a.gvmi --url https://example.org/a.gvmi --outbound https://ipfs.io --command 'run /bin/true' -o manifest.json
	jq -e --arg hash "sha3:$(gvmkit hash a.gvmi | cut -d' ' -f1)" '
		.payload[0].hash == $hash and .payload[0].urls == ["https://example.org/a.gvmi"] and .payload[0].platform.arch == "x86_64"
		and .compManifest.net.inet.out.urls == ["https://ipfs.io"] and .compManifest.script.commands == ["run /bin/true"]
		and (.expiresAt | sub("\\.000"; "") | fromdate) - (.createdAt | sub("\\.000"; "") | fromdate) == 90 * 86400' manifest.json
	gvmkit manifest sign --key author.key manifest.json
	base64 -w0 manifest.json >text
	base64 -d manifest.sig >signature
	openssl dgst -sha256 -verify <(openssl x509 -in author.crt -pubkey -noout) -signature signature text
	run -0 gvmkit manifest verify --certificate author.crt --ca ca.crt manifest.json
	[[ $output == *'vouched for'* ]]
	cat ca.crt author.crt >chain.crt
	run -0 gvmkit manifest verify --certificate chain.crt --ca ca.crt manifest.json
	cat author.crt ca.crt >reversed.crt
	run -1 gvmkit manifest verify --certificate reversed.crt --ca ca.crt manifest.json
	[[ $output == *'providers take the last'* ]]
	run -1 gvmkit manifest verify --certificate ca.crt manifest.json
	sed -i 's/ipfs/evil/' manifest.json
	run -1 gvmkit manifest verify --certificate author.crt manifest.json
	[[ $output == *'not of this manifest'* ]]
	run -0 gvmkit manifest verify manifest.json
}

@test "a manifest that no provider would take is refused" {
	gvmkit manifest create --hash "$(printf '0%.0s' {1..56})" --url https://example.org/a.gvmi >manifest.json
	jq '.expiresAt = "2020-01-01T00:00:00Z"' manifest.json >old.json
	run -1 gvmkit manifest verify old.json
	run -1 gvmkit manifest sign --key author.key old.json
	[ ! -e old.sig ]
	jq '.payload = []' manifest.json >empty.json
	run -1 gvmkit manifest verify empty.json
	[[ $output == *payload* ]]
	run -1 gvmkit manifest create a.gvmi --url nowhere
	[[ $output == *'no URL'* ]]
	run -2 gvmkit manifest create a.gvmi
	run -2 gvmkit manifest verify --key author.key manifest.json
	run -2 gvmkit manifest
}
