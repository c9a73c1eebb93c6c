#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-3.0-or-later
# Images of a Docker daemon and of registries: real ones, started here and stopped again.

load helper

setup_file()
{
	e2e_setup_file
	export REMOTE=$BATS_FILE_TMPDIR/remote
	mkdir "$REMOTE"
	start_daemon
	start_registries
	fill
}

teardown_file()
{
	local file
	for file in "$REMOTE"/*.pid; do
		stop_process "$(cat "$file")"
	done
	# What a daemon has mounted must not be removed through the mount.
	while read -r _ at _; do
		case $at in "$REMOTE"/*) umount -l "$at" ;; esac
	done <<<"$(tac /proc/mounts)"
}

setup()
{
	e2e_setup
	export HOME=$BATS_TEST_TMPDIR/home XDG_CACHE_HOME=$BATS_TEST_TMPDIR/cache
	mkdir "$HOME"
	unset DOCKER_HOST DOCKER_CONFIG REGISTRY_AUTH_FILE XDG_RUNTIME_DIR XDG_CONFIG_HOME
}

teardown() { assert_nothing_left; }

stop_process()
{
	local i
	kill "$1" 2>/dev/null || return 0
	for ((i = 0; i < 100; i++)); do
		kill -0 "$1" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -KILL "$1" 2>/dev/null || true
}

# background NAME COMMAND...: start it, without bats's descriptors; its process id is in NAME.pid, its output in NAME.log.
background()
{
	local name=$1
	shift
	"$@" >"$REMOTE/$name.log" 2>&1 </dev/null 3>&- 4>&- &
	echo $! >"$REMOTE/$name.pid"
}

start_daemon()
{
	[ "$(id -u)" -eq 0 ] && command -v dockerd >/dev/null || return 0
	# The docker beside dockerd: others may be too new for it.
	background dockerd dockerd --host "unix://$REMOTE/docker.sock" --data-root "$REMOTE/docker" --exec-root "$REMOTE/run" \
		--pidfile "$REMOTE/dockerd.id" --iptables=false --ip-masq=false --bridge=none --storage-driver vfs
	local i
	for ((i = 0; i < 150; i++)); do
		if docker_here version >/dev/null 2>&1; then
			touch "$REMOTE/daemon-runs"
			return 0
		fi
		kill -0 "$(cat "$REMOTE/dockerd.pid")" 2>/dev/null || return 0
		sleep 0.1
	done
}

docker_here() { docker -H "unix://$REMOTE/docker.sock" "$@"; }

need_daemon()
{
	[ -e "$REMOTE/daemon-runs" ] || skip "dockerd cannot be started here"
	export DOCKER_HOST=unix://$REMOTE/docker.sock
}

# registry NAME AUTH: docker-registry, all with one store; its address is in NAME.address.
registry()
{
	local port
	port=$(/usr/bin/python3 "$E2E/registry.py" port)
	printf '%s\n' "version: 0.1" "log: {level: warn}" "storage: {filesystem: {rootdirectory: '$REMOTE/store'}}" \
		"http: {addr: '127.0.0.1:$port'}" "$2" >"$REMOTE/$1.yml"
	background "$1" docker-registry serve "$REMOTE/$1.yml"
	echo "127.0.0.1:$port" >"$REMOTE/$1.address"
	wait_until curl -s -o /dev/null "http://127.0.0.1:$port/v2/"
}

start_registries()
{
	mkdir "$REMOTE/token"
	openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=test -days 1 -keyout "$REMOTE/token/key.pem" -out "$REMOTE/token/cert.pem" 2>/dev/null
	background service /usr/bin/python3 "$E2E/registry.py" token "$REMOTE/token/port" "$REMOTE/token"
	wait_until [ -s "$REMOTE/token/port" ]
	htpasswd -Bbn user secret >"$REMOTE/htpasswd"
	registry plain ""
	registry basic "auth: {htpasswd: {realm: test, path: '$REMOTE/htpasswd'}}"
	registry token "auth: {token: {realm: 'http://127.0.0.1:$(cat "$REMOTE/token/port")/token', service: test, issuer: test, rootcertbundle: '$REMOTE/token/cert.pem'}}"
}

address() { cat "$REMOTE/$1.address"; }

push() { skopeo copy --insecure-policy --quiet --dest-tls-verify=false "$@" >/dev/null; }

fill()
{
	local plain
	plain=$(address plain)
	push "docker-archive:$IMAGES/layers.tar" "docker://$plain/team/layers:v2s2"
	push "oci:$IMAGES/layers.oci:latest" "docker://$plain/team/layers:oci"
	push "docker-archive:$IMAGES/layers.tar" "docker://$plain/open/layers:1"
	push "docker-archive:$IMAGES/base.tar" "docker://$plain/team/multi:amd"
	push "oci-archive:$IMAGES/arm.oci.tar" "docker://$plain/team/multi:arm"
	/usr/bin/python3 "$E2E/registry.py" index "http://$plain" team/multi both linux/arm64=arm linux/amd64=amd >"$REMOTE/both.digest"
	[ ! -e "$REMOTE/daemon-runs" ] || docker_here load -i "$IMAGES/layers.tar" >/dev/null
}

login_docker()
{
	mkdir -p "$HOME/.docker"
	printf '{"auths":{"%s":{"auth":"%s"}}}' "$1" "$(printf %s "$2" | base64)" >"$HOME/.docker/config.json"
}

@test "one image of an archive, a daemon and registries is the same bytes" {
	need_daemon
	plain=$(address plain)
	gvmkit build "$IMAGES/layers.tar" -o archive.gvmi
	gvmkit build docker-daemon:test/image:latest -o daemon.gvmi
	gvmkit build "docker://$plain/team/layers:v2s2" -o v2s2.gvmi
	gvmkit build "docker://$plain/team/layers:oci" -o oci.gvmi
	docker_here tag test/image:latest "$plain/team/pushed:1"
	docker_here push "$plain/team/pushed:1" >/dev/null
	docker_here rmi "$plain/team/pushed:1" >/dev/null
	gvmkit build "docker://$plain/team/pushed:1" -o pushed.gvmi
	gvmkit build -j 1 "docker://$plain/team/pushed:1" -o alone.gvmi
	for other in daemon v2s2 oci pushed alone; do cmp archive.gvmi $other.gvmi; done
}

@test "an image of the daemon is found by name and by id, and the result has its real name" {
	need_daemon
	id=$(docker_here images -q --no-trunc test/image:latest)
	gvmkit build --json docker-daemon:test/image >name.json
	file=$(jq -r .file name.json)
	assert_equal "$file" "test-image-latest-$(expr "$id" : 'sha256:\(..........\)').gvmi"
	gvmkit build --json --force "docker-daemon:$id" >id.json
	cmp name.json id.json
	short=${id#sha256:}
	gvmkit build --json --force "docker-daemon:${short:0:12}" >id.json
	cmp name.json id.json
	gvmkit build --json --force test/image >id.json # no transport: no such file, so it is a name
	cmp name.json id.json
}

@test "podman's service is a daemon like Docker's" {
	[ "$(id -u)" -eq 0 ] || skip "dockerd cannot be started here"
	podman_here() { podman --root "$REMOTE/podman" --runroot "$REMOTE/podman-run" --tmpdir "$REMOTE/podman-tmp" --storage-driver vfs "$@"; }
	podman_here load -q -i "$IMAGES/layers.tar" >/dev/null 3>&-
	background podman podman --root "$REMOTE/podman" --runroot "$REMOTE/podman-run" --tmpdir "$REMOTE/podman-tmp" --storage-driver vfs system service --time 0 "unix://$REMOTE/podman.sock"
	wait_until [ -S "$REMOTE/podman.sock" ]
	DOCKER_HOST=unix://$REMOTE/podman.sock gvmkit build docker-daemon:test/image -o podman.gvmi
	gvmkit build "$IMAGES/layers.tar" -o archive.gvmi
	cmp archive.gvmi podman.gvmi
}

@test "no daemon, no permission, no such image: one line that says what to try" {
	DOCKER_HOST=unix:///nonexistent/docker.sock run --separate-stderr gvmkit build docker-daemon:alpine
	assert_equal "$status" 1
	# shellcheck disable=SC2154 # set by run
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "cannot connect to \`/nonexistent/docker.sock\`"
	assert_contains "$stderr" "docker://alpine"
	DOCKER_HOST=ssh://host run --separate-stderr gvmkit build docker-daemon:alpine
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "docker save"
	need_daemon
	run --separate-stderr gvmkit build docker-daemon:no/such
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "docker pull no/such"
	[ -z "$(ls)" ]
	run --separate-stderr setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/nonexistent gvmkit build docker-daemon:test/image
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "usermod -aG docker"
}

@test "a bare name is looked up in the daemon, then in the registry, and the message names both" {
	plain=$(address plain)
	export DOCKER_HOST=unix:///nonexistent/docker.sock
	gvmkit build "$plain/team/layers:v2s2" -o registry.gvmi
	gvmkit build "$IMAGES/layers.tar" -o archive.gvmi
	cmp registry.gvmi archive.gvmi
	run --separate-stderr gvmkit build "$plain/no/such:1" -o none.gvmi
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "there is no Docker daemon"
	assert_contains "$stderr" "does not have the image"
	[ ! -e none.gvmi ]
}

@test "a registry with htpasswd wants a login, and takes that of docker or podman" {
	basic=$(address basic)
	run --separate-stderr gvmkit build "docker://$basic/team/layers:oci" -o a.gvmi
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "docker login $basic"
	login_docker "$basic" user:wrong
	run --separate-stderr gvmkit build "docker://$basic/team/layers:oci" -o a.gvmi
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "with the login from"
	login_docker "$basic" user:secret
	gvmkit build "docker://$basic/team/layers:oci" -o a.gvmi
	gvmkit build "$IMAGES/layers.tar" -o b.gvmi
	cmp a.gvmi b.gvmi
	# What skopeo and podman write.
	rm -r "$HOME/.docker" a.gvmi
	export XDG_RUNTIME_DIR=$BATS_TEST_TMPDIR/run
	mkdir "$XDG_RUNTIME_DIR"
	skopeo login --tls-verify=false -u user -p secret "$basic" --authfile "$XDG_RUNTIME_DIR/containers/auth.json"
	gvmkit build "docker://$basic/team/layers:oci" -o a.gvmi
	cmp a.gvmi b.gvmi
	# A credential helper.
	rm -r "$XDG_RUNTIME_DIR/containers" a.gvmi
	mkdir -p bin "$HOME/.docker"
	printf '#!/bin/sh\nprintf %%s "{\\"Username\\":\\"user\\",\\"Secret\\":\\"secret\\"}"\n' >bin/docker-credential-test
	chmod 755 bin/docker-credential-test
	echo '{"credsStore":"test"}' >"$HOME/.docker/config.json"
	PATH=$PWD/bin:$PATH gvmkit build "docker://$basic/team/layers:oci" -o a.gvmi
	cmp a.gvmi b.gvmi
}

@test "a registry with tokens gives them to everybody for what is open, and for a login" {
	token=$(address token)
	gvmkit build "docker://$token/open/layers:1" -o open.gvmi
	run --separate-stderr gvmkit build "docker://$token/team/layers:oci" -o team.gvmi
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "docker login $token"
	login_docker "$token" user:wrong
	run --separate-stderr gvmkit build "docker://$token/team/layers:oci" -o team.gvmi
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "log in again"
	login_docker "$token" user:secret
	gvmkit build "docker://$token/team/layers:oci" -o team.gvmi
	cmp open.gvmi team.gvmi
}

@test "of a manifest list the image for the platform is taken, or the platforms are told" {
	plain=$(address plain)
	gvmkit build "docker://$plain/team/multi:both" -o amd.gvmi
	gvmkit build "docker://$plain/team/multi@$(cat "$REMOTE/both.digest")" -o digest.gvmi
	gvmkit build --platform linux/arm64 "docker://$plain/team/multi:both" -o arm.gvmi
	gvmkit build "$IMAGES/base.tar" -o base.gvmi
	gvmkit build --platform linux/arm64 "$IMAGES/arm.oci.tar" -o base-arm.gvmi
	cmp amd.gvmi base.gvmi
	cmp amd.gvmi digest.gvmi
	cmp arm.gvmi base-arm.gvmi
	run --separate-stderr gvmkit build --platform linux/s390x "docker://$plain/team/multi:both"
	assert_equal "$status" 1
	assert_one_line_error "$stderr"
	assert_contains "$stderr" "there is no image for linux/s390x in it; there are images for: linux/arm64, linux/amd64"
}

@test "a download that was killed is resumed by the next one, and what is there is not downloaded again" {
	background slow /usr/bin/python3 "$E2E/registry.py" slow "$REMOTE/slow.port" "$(address plain | cut -d: -f2)" 400000 "$REMOTE/slow.requests"
	wait_until [ -s "$REMOTE/slow.port" ]
	image=docker://127.0.0.1:$(cat "$REMOTE/slow.port")/team/multi:amd
	gvmkit build "$image" -o a.gvmi >/dev/null 2>&1 3>&- &
	pid=$!
	part() { find "$XDG_CACHE_HOME" -name '*.part' -size +200k 2>/dev/null | grep -q .; }
	wait_until part
	kill -KILL $pid
	wait $pid || true
	[ ! -e a.gvmi ]
	part # it is still there
	gvmkit build "$image" -o a.gvmi
	gvmkit build "$IMAGES/base.tar" -o b.gvmi
	cmp a.gvmi b.gvmi
	grep -q 'GET .*/blobs/.* bytes=[1-9]' "$REMOTE/slow.requests"
	run ! part
	blobs=$(grep -c 'GET .*/blobs/' "$REMOTE/slow.requests")
	gvmkit build "$image" -o c.gvmi
	cmp a.gvmi c.gvmi
	assert_equal "$(grep -c 'GET .*/blobs/' "$REMOTE/slow.requests")" "$blobs"
}

@test "a damaged blob in the cache is noticed and downloaded again" {
	image=docker://$(address plain)/team/multi:amd
	gvmkit build "$image" -o a.gvmi
	find "$XDG_CACHE_HOME/gvmkit/blobs/sha256" -type f | while read -r blob; do
		printf x | dd of="$blob" conv=notrunc bs=1 seek=5 status=none
	done
	run --separate-stderr gvmkit build "$image" -o b.gvmi
	assert_equal "$status" 0
	assert_contains "$stderr" "is damaged and is fetched again"
	cmp a.gvmi b.gvmi
}

@test "run takes the name of an image of a registry, and the next time asks for its digest alone" {
	background front /usr/bin/python3 "$E2E/registry.py" slow "$REMOTE/front.port" "$(address plain | cut -d: -f2)" 100000000 "$REMOTE/front.requests"
	wait_until [ -s "$REMOTE/front.port" ]
	image=docker://127.0.0.1:$(cat "$REMOTE/front.port")/team/multi:both
	assert_equal "$(vm "$image" 2>/dev/null)" "default command"
	: >"$REMOTE/front.requests"
	assert_equal "$(vm "$image" echo again 2>/dev/null)" again
	assert_equal "$(grep -v '/v2/ ' "$REMOTE/front.requests")" "HEAD /v2/team/multi/manifests/both -"
}
