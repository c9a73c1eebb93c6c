#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# Images as artifacts of a registry of OCI: a real one, started here.

load helper

setup_file()
{
	e2e_setup_file
	export OCI=$BATS_FILE_TMPDIR/oci
	mkdir "$OCI"
	PORT=$(/usr/bin/python3 "$E2E/registry.py" port)
	export REPO=localhost:$PORT/me/thing
	printf 'version: 0.1\nstorage:\n  delete: {enabled: true}\n  filesystem: {rootdirectory: %s}\nhttp: {addr: 127.0.0.1:%s}\n' "$OCI/data" "$PORT" >"$OCI/config.yml"
	docker-registry serve "$OCI/config.yml" >"$OCI/log" 2>&1 </dev/null 3>&- 4>&- &
	echo $! >"$OCI/pid"
	local i
	for ((i = 0; i < 100; i++)); do
		curl -sf "http://localhost:$PORT/v2/" >/dev/null && break
		sleep 0.1
	done
	gvmkit build "$IMAGES/layers.tar" -o "$OCI/a.gvmi"
	gvmkit build "$IMAGES/user.tar" -o "$OCI/b.gvmi"
	gvmkit push "$OCI/a.gvmi" "oci://$REPO:1" "oci://$REPO:latest"
}

teardown_file() { kill "$(cat "$OCI/pid")"; }

setup()
{
	e2e_setup
	export HOME=$BATS_TEST_TMPDIR/home XDG_CACHE_HOME=$BATS_TEST_TMPDIR/cache XDG_DATA_HOME=$BATS_TEST_TMPDIR/data
	mkdir "$HOME"
	unset DOCKER_CONFIG REGISTRY_AUTH_FILE XDG_RUNTIME_DIR XDG_CONFIG_HOME
	A=$(gvmkit hash "$OCI/a.gvmi" | cut -c1-56)
}

teardown() { assert_nothing_left; }

@test "an image goes to a registry of OCI and comes back" {
	run -0 gvmkit pull --json "oci://$REPO:latest"
	[ "$(jq -r '.[0].hash' <<<"$output")" = "$A" ]
	[ "$(jq '.[0].received' <<<"$output")" -eq "$(stat -c %s "$OCI/a.gvmi")" ]
	cmp "$(jq -r '.[0].file' <<<"$output")" "$OCI/a.gvmi"
	run -0 gvmkit images
	[[ $output == *"$A"*"oci://$REPO:latest"* ]]
	run -0 gvmkit ls "oci://$REPO:latest" /
	[ "$output" = "$(gvmkit ls "$OCI/a.gvmi" /)" ]
	gvmkit rm "oci://$REPO:latest"
	run -0 gvmkit images
	[[ $output != *"$A"* ]]
}

@test "other tools see an artifact, whose layer is the file" {
	manifest=$(curl -sf -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://${REPO%%/*}/v2/me/thing/manifests/1")
	[ "$(jq -r .artifactType <<<"$manifest")" = application/vnd.golem.gvmi.v1 ]
	[ "$(jq -r '.annotations["network.golem.gvmi.sha3-224"]' <<<"$manifest")" = "$A" ]
	[ "$(jq -r '.layers[0].digest' <<<"$manifest")" = "sha256:$(sha256sum <"$OCI/a.gvmi" | cut -d' ' -f1)" ]
	[ "$(jq -r '.layers[0].annotations["org.opencontainers.image.title"]' <<<"$manifest")" = a.gvmi ]
	skopeo inspect --raw --tls-verify=false "docker://$REPO:1" | cmp - <(printf %s "$manifest")
}

@test "what the registry has is not sent again, and a tag moves" {
	before=$(grep -c 'PATCH' "$OCI/log")
	[ "$before" -gt 0 ]
	gvmkit push "$OCI/a.gvmi" "oci://$REPO:again"
	[ "$(grep -c 'PATCH' "$OCI/log")" -eq "$before" ]
	gvmkit push "$OCI/b.gvmi" "oci://$REPO:moves"
	gvmkit push "$OCI/a.gvmi" "oci://$REPO:moves"
	run -0 gvmkit pull "oci://$REPO:moves"
	[[ $output == *"$A"* ]]
}

@test "rot is repaired from the registry" {
	file=$(gvmkit pull --json "oci://$REPO:1" | jq -r '.[0].file')
	chmod u+w "$file"
	printf x | dd of="$file" bs=1 seek=200 conv=notrunc status=none
	rm -r "$XDG_CACHE_HOME"
	run -0 gvmkit verify --all
	[[ $output == *repaired* ]]
	cmp "$file" "$OCI/a.gvmi"
}

@test "an image of containers, a missing one, and one that lies are told apart" {
	skopeo copy -q --dest-tls-verify=false "docker-archive:$IMAGES/layers.tar" "docker://$REPO:container"
	run -1 gvmkit pull "oci://$REPO:container"
	[[ $output == *'no .gvmi'*docker://* ]]
	run -1 gvmkit pull "oci://$REPO:nothing"
	[[ $output == *'does not have'* ]]
	# A manifest that names another hash than its layer has.
	manifest=$(curl -sf -H 'Accept: application/vnd.oci.image.manifest.v1+json' "http://${REPO%%/*}/v2/me/thing/manifests/1")
	jq -c '.annotations["network.golem.gvmi.sha3-224"] = "00000000000000000000000000000000000000000000000000000000"' <<<"$manifest" |
		curl -sf -X PUT -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' --data-binary @- "http://${REPO%%/*}/v2/me/thing/manifests/lies"
	run -1 gvmkit pull "oci://$REPO:lies"
	[[ $output == *'another image'* ]]
	run -0 gvmkit images
	[ "${#lines[@]}" -eq 1 ]
}

@test "wrong names are refused before anything is sent" {
	run -2 gvmkit push "$OCI/a.gvmi" "oci://$REPO"
	run -2 gvmkit push "$OCI/a.gvmi" "oci://$REPO:1" "oci://localhost:1/other:2"
	run -2 gvmkit push "$OCI/a.gvmi" "oci://$REPO:1" me/thing:2
	run -2 gvmkit push --anonymous "$OCI/a.gvmi" "oci://$REPO:1"
	run -1 gvmkit push "$E2E/oci.bats" "oci://$REPO:1"
}
