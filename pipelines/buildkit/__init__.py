"""The way out for a model that needs more than its base image has: an extended base, made by BuildKit.

BuildKit never sees a model's bytes. It makes the base image anew with system packages, Python packages and people's own
instructions on top, pushes that beside the model's images as `<repository>:base-<recipe>`, and the ordinary builder
appends the model's layers to it as to any base. So weights never pass through BuildKit, and a new version of a model
whose needs did not change builds nothing here: the recipe, a sha256 of all that the model needs and of its base, is
known already.

What packages are installed depends on the day, so an extended base is no pure function of its recipe. It is made once,
and what is built on it names it by digest.

A tool is a `BaseBuilder`: `buildctl` (BuildKit 0.15 or newer, which rewrites the times of new layers and leaves the
base's alone) or, on a laptop without BuildKit, `buildah` (1.24 or newer, for `--mount=type=cache`). The Dockerfile
names no `# syntax=`, so that the frontend is the one that BuildKit brings, and nothing is pulled beside the base. Where
`COPY --link` might stand, files are mounted while they are read, and so leave no layer at all.

For a pod that does this without a daemon and without root: the image `moby/buildkit:rootless` with the command
`buildctl-daemonless.sh`, user and group 1000, `BUILDKITD_FLAGS=--oci-worker-no-process-sandbox`, seccomp and AppArmor
both unconfined (BuildKit's docs/rootless.md says why), an emptyDir at `/home/user/.local/share/buildkit`, and no
privileges, no host mounts and no service account token: instructions run there are people's own.
"""
