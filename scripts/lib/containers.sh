# shellcheck shell=bash
# The container engine, docker compose, the base image and the project's images: each found, or else
# installed, started or built, with a message. What another user or program started or made is left
# alone. Sourced after common.sh and install.sh.

# The base of every image of this project, under its public name.
base_image=debian:bookworm-slim
# Where an engine of this machine listens and writes its process id by default.
default_engine=unix:///var/run/docker.sock
engine_pid_file=/run/docker.pid
# Where the engine's log, the builds' logs and the folders that images are built from go.
containers=$target/containers
# Built as a Go module, checked against the public checksum database, where the distribution has no
# compose v2.
compose_version=v2.40.3
compose_plugins=/usr/local/lib/docker/cli-plugins
# Set by a script that needs today's base images and Debian packages, and not those of an earlier
# build.
fresh=
base_is_fresh=

# engine ARGUMENT...: docker, as root where this user may not talk to the engine.
engine() {
    if [[ ${engine_needs_root:-} ]]; then as_root docker "$@"; else docker "$@"; fi
}

# Where the user's docker command finds its engine: by DOCKER_HOST, a context, or the default.
engine_address() { docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null || echo "$default_engine"; }

# Whether there is an engine that answers; finds out whether root is needed for that.
engine_answers() {
    have docker || return 1
    engine_needs_root=
    docker info >/dev/null 2>&1 && return
    # Root would look for another engine than the one that this user has chosen.
    ((EUID != 0)) && [[ $(engine_address) == "$default_engine" ]] || return 1
    engine_needs_root=1
    as_root docker info >/dev/null 2>&1
}

# Ends the script when an engine runs, or was chosen, that does not answer: then no other one is
# installed or started, and none is stopped later that another user needs.
check_no_engine_runs() {
    local address=$default_engine pid
    ! have docker || address=$(engine_address)
    [[ $address == "$default_engine" ]] ||
        die "the container engine at $address does not answer (DOCKER_HOST, or docker context show): start it, or choose another"
    if [[ -d /run/systemd/system ]] && systemctl is-active --quiet docker; then
        die "docker.service runs and does not answer: see docker info, and journalctl -u docker"
    fi
    pid=$(cat "$engine_pid_file" 2>/dev/null) || return 0
    [[ ! -d /proc/${pid:-none} ]] ||
        die "$engine_pid_file names process $pid, which runs, and no engine answers: see docker info; where it is no dockerd, remove that file"
}

# The engine's programs from the distribution, unless any engine answers already. If the
# installation starts it, it counts as started here.
install_engine() {
    engine_answers && return
    check_no_engine_runs
    install_packages dockerd:docker.io iptables:iptables
    # A separate package in later releases.
    if ! have docker; then install_packages docker:docker-cli; fi
    if engine_answers; then engine_started=systemd; fi
}

# An engine that answers. Started by systemd where that runs, else as a separate process, whose log
# is target/containers/dockerd.log; it keeps running after the script, unless stop_engine is called.
start_engine() {
    engine_answers && return
    check_no_engine_runs
    mkdir -p "$containers"
    if [[ -d /run/systemd/system ]]; then
        say "Starting the container engine (systemctl start docker)"
        engine_started=systemd
        as_root systemctl start docker || die "the engine does not start: see journalctl -u docker"
    else
        # The engine keeps its containers' limits there and does not start without.
        grep -q ' /sys/fs/cgroup' /proc/self/mounts || {
            install_packages cgroupfs-mount:cgroupfs-mount
            as_root cgroupfs-mount
        }
        say "Starting the container engine (dockerd, log in $containers/dockerd.log)"
        rm -f "$containers/dockerd.pid"
        # It writes its process id before it becomes the engine, so that nothing else is ever
        # stopped. The shell inside expands; the log belongs to the user, the engine to root.
        # shellcheck disable=SC2016,SC2024
        as_root setsid sh -c 'echo $$ >"$0" && exec dockerd' "$containers/dockerd.pid" \
            </dev/null >"$containers/dockerd.log" 2>&1 &
        engine_started=process
    fi
    local until=$((SECONDS + 60))
    until engine_answers; do
        ((SECONDS < until)) || {
            tail -n 20 "$containers/dockerd.log" >&2 2>/dev/null || true
            die "the container engine does not answer after 60 s: is this a container without the rights to run one?"
        }
        # There is no event to wait for: the socket is not there from the start, and the parent gets
        # no message.
        sleep 0.2
    done
}

# Stops the engine if start_engine of this very script started it; containers that run in it end.
stop_engine() {
    local how=${engine_started:-} pid
    [[ $how ]] || return 0
    engine_started=
    say "Stopping the container engine that was started here"
    if [[ $how == systemd ]]; then
        as_root systemctl stop docker.service docker.socket
        return
    fi
    pid=$(cat "$containers/dockerd.pid" 2>/dev/null) || return 0
    # It may have ended on its own, and its id belong to another process.
    [[ $(cat "/proc/$pid/comm" 2>/dev/null) == dockerd ]] || return 0
    as_root kill "$pid"
    as_root timeout 60 tail --pid="$pid" -f /dev/null || die "dockerd (pid $pid) does not stop within 60 s"
}

# `docker compose` of version 2: from the distribution, else from its source.
install_compose() {
    engine compose version >/dev/null 2>&1 && return
    local package
    for package in docker-compose-plugin docker-compose-v2; do
        apt-cache show "$package" >/dev/null 2>&1 || continue
        install_packages "docker compose:$package"
        engine compose version >/dev/null 2>&1 && return
    done
    install_go
    say "Building docker compose $compose_version (two minutes)"
    local folder
    folder=$(mktemp -d)
    (
        cd "$folder" || exit
        go mod init compose.invalid/build >/dev/null 2>&1
        go get "github.com/docker/compose/v2/cmd@$compose_version" >get.log 2>&1 || {
            cat get.log >&2
            die "docker compose cannot be fetched: install it (docs.docker.com/compose/install) and start again"
        }
        go build -trimpath \
            -ldflags "-s -w -X github.com/docker/compose/v2/internal.Version=$compose_version" \
            -o docker-compose github.com/docker/compose/v2/cmd
    )
    as_root install -D -m 755 "$folder/docker-compose" "$compose_plugins/docker-compose"
    rm -rf "$folder"
    engine compose version >/dev/null || die "$compose_plugins/docker-compose was built and does not run"
}

# docker-compose 1.29, the last of its generation, which the compose files also support: an
# installed one, else from a distribution that has it, else from PyPI into the build folder. Only
# tests need it; they find it by QDT_COMPOSE_1, and the host's docker-compose stays unchanged.
install_compose_1() {
    local own=$target/docker-compose-1
    find_compose_1 "${QDT_COMPOSE_1:-}" docker-compose /usr/bin/docker-compose "$own/bin/docker-compose" && return
    if apt-cache show docker-compose 2>/dev/null | grep -q '^Version: 1\.29\.'; then
        install_packages /usr/bin/docker-compose:docker-compose
        find_compose_1 /usr/bin/docker-compose && return
    fi
    install_packages python3:python3
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3-venv
    say "Installing docker-compose 1.29.2 from PyPI"
    rm -rf "$own"
    python3 -m venv "$own"
    # It asks for releases by their lowest number only, and for a parser of YAML that today's tools
    # do not build.
    "$own/bin/pip" install --quiet 'setuptools<72' wheel 'Cython<3'
    "$own/bin/pip" install --quiet --no-build-isolation 'requests<2.29' 'urllib3<2' docker==5.0.3 docker-compose==1.29.2
    find_compose_1 "$own/bin/docker-compose" || die "$own/bin/docker-compose was installed and does not run"
}

# find_compose_1 PROGRAM...: names the first one that is docker-compose 1.29 in QDT_COMPOSE_1.
find_compose_1() {
    local program
    for program in "$@"; do
        [[ $program && $("$program" version --short 2>/dev/null) == 1.29.* ]] || continue
        export QDT_COMPOSE_1=$program
        return
    done
    return 1
}

# pull_image IMAGE: the existing image, else (or where a fresh one is wanted) pulled; fails where
# that is not possible.
pull_image() {
    if [[ ! $fresh ]]; then engine image inspect "$1" >/dev/null 2>&1 && return; fi
    say "Pulling $1"
    # The engine itself tries long enough to reach a registry; this gives up on one that stalls.
    local pull=(timeout 900 docker pull --quiet "$1")
    if [[ ${engine_needs_root:-} ]]; then pull=(as_root "${pull[@]}"); fi
    "${pull[@]}" </dev/null >/dev/null 2>&1
}

# Debian's base image under its public name: the existing one, else pulled, else built from Debian's
# packages. Where a fresh one is wanted, once per script.
make_base_image() {
    if [[ $base_is_fresh ]]; then return; fi
    base_is_fresh=$fresh
    pull_image "$base_image" && return
    install_packages debootstrap:debootstrap
    say "It cannot be pulled: making $base_image with debootstrap (a minute)"
    local folder
    folder=$(mktemp -d)
    mkdir -p "$containers"
    as_root debootstrap --variant=minbase bookworm "$folder" >"$containers/debootstrap.log" 2>&1 || {
        tail -n 20 "$containers/debootstrap.log" >&2
        as_root rm -rf "$folder"
        die "debootstrap failed: see $containers/debootstrap.log"
    }
    # What the public image leaves out too: a container needs no manuals.
    as_root find "$folder/usr/share/doc" "$folder/usr/share/man" "$folder/usr/share/locale" \
        "$folder/usr/share/info" -mindepth 1 ! -name copyright -type f -delete
    as_root find "$folder/var/cache/apt" "$folder/var/lib/apt/lists" "$folder/var/log" -type f -delete
    as_root tar -C "$folder" --one-file-system -c . |
        engine import --change 'CMD ["bash"]' --message 'debootstrap --variant=minbase bookworm' - "$base_image" >/dev/null
    as_root rm -rf "$folder"
}

# build_images TAG BIN_DIR [NAME...]: the images qdt-NAME:TAG, by default server, client and
# go-peer, of the programs qdt-server, qdt-client and go-peer in BIN_DIR. Other names:
# server-nonroot (tagged qdt-server:TAG-nonroot), and prometheus, try-out, aioquic, which need no
# BIN_DIR.
build_images() {
    local tag=$1 programs=$2 names=("${@:3}") name image
    ((${#names[@]})) || names=(server client go-peer)
    check_image_names "${names[@]}" || exit 1
    make_base_image
    for name in "${names[@]}"; do
        image=$(image_of "$name" "$tag")
        case $name in
            server | client | server-nonroot) build_program_image "$name" "$image" "$programs" ;;
            go-peer) build_go_peer_image "$image" "$programs" ;;
            prometheus | try-out) build_image "$image" "$root/docker/$name" ;;
            aioquic) build_aioquic_image "$image" ;;
        esac
    done
}

# check_image_names NAME...: whether build_images knows all of them, with a message about the first
# that it does not.
check_image_names() {
    local name
    for name in "$@"; do
        case $name in
            server | client | server-nonroot | go-peer | prometheus | try-out | aioquic) ;;
            *)
                warn "no image is called $name: server, client, server-nonroot, go-peer, prometheus, try-out, aioquic"
                return 1
                ;;
        esac
    done
}

# image_of NAME TAG: its name for the engine.
image_of() {
    case $1 in
        *-nonroot) printf 'qdt-%s:%s-nonroot\n' "${1%-nonroot}" "$2" ;;
        *) printf 'qdt-%s:%s\n' "$1" "$2" ;;
    esac
}

# stage_program FOLDER BIN_DIR PROGRAM: puts a program into a folder of a build context.
stage_program() {
    local into=$1 program=$2/$3
    [[ -x $program ]] || die "$program does not exist: build it (scripts/images does) or name the folder that has it"
    # Function names stay, so that profiles name functions; line tables only help a debugger.
    if have strip; then strip --strip-debug -o "$into/$3" "$program"; else cp "$program" "$into/$3"; fi
    chmod 755 "$into/$3"
}

# build_program_image TARGET IMAGE BIN_DIR: one stage of Dockerfile.prebuilt, from a context of
# nothing but what that stage copies.
build_program_image() {
    local stage=$1 image=$2 kind=${1%-nonroot} folder
    folder=$(mktemp -d)
    mkdir -p "$folder/docker" "$folder/programs/server" "$folder/programs/client"
    cp -r "$root/docker/runtime" "$folder/docker/runtime"
    stage_program "$folder/programs/$kind" "$3" "qdt-$kind"
    build_image "$image" "$folder" --file "$root/docker/Dockerfile.prebuilt" --target "$stage"
    rm -rf "$folder"
    # Its usage text proves that it starts: that the C library of the image is new enough.
    engine run --rm --cap-add NET_ADMIN --cap-add NET_BIND_SERVICE "$image" -h >/dev/null 2>&1 ||
        die "qdt-$kind does not run in $image: a program compiled here needs a newer C library than $base_image has;" \
            "compile it in a container (scripts/images --from-source) or on Debian 12"
}

build_go_peer_image() {
    local folder
    folder=$(mktemp -d)
    mkdir "$folder/programs"
    stage_program "$folder/programs" "$2" go-peer
    build_image "$1" "$folder" --file "$root/docker/go-peer/Dockerfile"
    rm -rf "$folder"
}

# The second stack. pip inside the build trusts what this host trusts, so that an index behind a
# proxy is reached too.
build_aioquic_image() {
    local folder roots=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
    folder=$(mktemp -d)
    cp -r "$root/conformance/aioquic/." "$folder"
    [[ ! -r $roots ]] || cp --dereference "$roots" "$folder/ca-certificates.crt"
    build_image "$1" "$folder"
    rm -rf "$folder"
}

# build_image IMAGE FOLDER [ARGUMENT...]: docker build with the labels of this source; its output is
# shown on failure and stays in target/containers/.
build_image() {
    local image=$1 folder=$2 log=$containers/build-${1//[^a-z0-9.-]/-}.log began=$SECONDS
    mkdir -p "$containers"
    say "Building $image"
    engine build ${fresh:+--no-cache} "${@:3}" --tag "$image" \
        --label "org.opencontainers.image.version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)" \
        --label "org.opencontainers.image.revision=$(git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)" \
        "$folder" </dev/null >"$log" 2>&1 || {
        cat "$log" >&2
        die "$image does not build: see above, or $log"
    }
    say "   $image: $(engine image inspect --format '{{.Size}}' "$image" | numfmt --to=si)B after $(duration $((SECONDS - began)))"
}
