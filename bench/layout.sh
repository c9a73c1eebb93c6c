# SPDX-License-Identifier: GPL-3.0-or-later
# shellcheck shell=bash
#
# What the makers of images for the bench share: layers become an OCI image layout.

# Move the file $2 into the layout $1, where its digest says; prints the digest.
blob()
{
	local digest
	digest=$(sha256sum <"$2")
	digest=${digest%% *}
	mv "$2" "$1/blobs/sha256/$digest"
	printf '%s' "$digest"
}

# Make the directory $1 an OCI image layout with the image `bench`, of the layers $2... (tars, which are used up).
layout()
{
	local image=$1 tar sum size digest config manifest diff_ids='' descriptors=''
	shift
	mkdir -p "$image/blobs/sha256"
	for tar; do
		sum=$(sha256sum <"$tar")
		diff_ids+=${diff_ids:+,}\"sha256:${sum%% *}\"
		gzip -n "$tar"
		size=$(stat -c %s "$tar.gz")
		digest=$(blob "$image" "$tar.gz")
		descriptors+=${descriptors:+,}'{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:'$digest'","size":'$size'}'
	done
	cat >"$image/config" <<-CONFIG
		{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
		"Cmd":["/bin/bash"],"Volumes":{"/data":{}}},"rootfs":{"type":"layers","diff_ids":[$diff_ids]}}
	CONFIG
	size=$(stat -c %s "$image/config")
	config=$(blob "$image" "$image/config")
	printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:%s","size":%d},"layers":[%s]}' \
		"$config" "$size" "$descriptors" >"$image/manifest"
	size=$(stat -c %s "$image/manifest")
	manifest=$(blob "$image" "$image/manifest")
	printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:%s","size":%d,"platform":{"architecture":"amd64","os":"linux"},"annotations":{"org.opencontainers.image.ref.name":"bench"}}]}' \
		"$manifest" "$size" >"$image/index.json"
	printf '{"imageLayoutVersion":"1.0.0"}' >"$image/oci-layout"
	chmod -R u=rwX,go=rX "$image"
}
