# shellcheck shell=bash
# Installs what is missing and changes nothing that is installed. Sourced after common.sh.

# The oldest compiler that builds the project without rustup: `rust-version` in Cargo.toml.
rust_minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
# The release that rust-toolchain.toml requests where there is rustup.
rust_channel=$(sed -n 's/^channel = "\(.*\)"/\1/p' "$root/rust-toolchain.toml")
# The oldest Go that fetches by itself the release which go.mod names.
go_minimum=1.21
# Fetched as a module, checked against the public checksum database, where the distribution's Go is
# older.
go_release=1.25.4
cargo_deny_version=0.20.2

# at_least 1.90 1.95.0: whether the second version is the first or later.
at_least() { [[ $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]; }

# install_packages command:package ...: what provides the commands that are missing.
install_packages() {
    local pair missing=()
    for pair in "$@"; do
        have "${pair%%:*}" || missing+=("${pair##*:}")
    done
    ((${#missing[@]} == 0)) || apt_install "${missing[@]}"
}

# apt_install PACKAGE ...: packages that are known to be missing.
apt_install() {
    have apt-get ||
        die "missing: $* (names of Debian packages); this system has no apt-get, so install them and start again"
    say "Installing $*"
    # Another apt may be at work on a machine that has just started.
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300)
    as_root "${apt[@]}" update >/dev/null
    as_root "${apt[@]}" install -y --no-install-recommends "$@" >/dev/null
    hash -r
}

# What compiles the programs.
install_build_tools() {
    install_packages cc:gcc ld:binutils c++:g++ make:make
    # There are compilers without the C library's headers.
    [[ -f /usr/include/stdlib.h ]] || apt_install libc6-dev
    install_rust
}

install_rust() {
    if ! (cd "$root" && cargo --version >/dev/null 2>&1); then
        # Either nothing is there, or rustup without the release this project names.
        have rustup || install_rustup
        (cd "$root" && cargo --version >/dev/null 2>&1) || {
            say "Installing Rust $rust_channel"
            rustup toolchain install "$rust_channel" --profile minimal --component clippy --component rustfmt
        }
    fi
    local version
    version=$(cd "$root" && rustc --version | cut -d' ' -f2)
    if ! at_least "$rust_minimum" "$version"; then
        say "Rust $version is too old, $rust_minimum is needed: installing a newer one for $(id -un) beside it"
        install_rustup
        rustup toolchain install "$rust_channel" --profile minimal --component clippy --component rustfmt
    fi
}

# rustup for this user, from where the Rust project publishes it.
install_rustup() {
    install_packages curl:curl
    [[ -d /etc/ssl/certs && -n $(ls /etc/ssl/certs) ]] || install_packages update-ca-certificates:ca-certificates
    say "Installing rustup for $(id -un)"
    local folder triple
    triple=$(uname -m)-unknown-linux-gnu
    folder=$(mktemp -d)
    (
        cd "$folder"
        curl --fail --silent --show-error --location --proto '=https' --retry 3 \
            --remote-name "https://static.rust-lang.org/rustup/dist/$triple/rustup-init" \
            --remote-name "https://static.rust-lang.org/rustup/dist/$triple/rustup-init.sha256"
        [[ $(cut -d' ' -f1 rustup-init.sha256) == $(sha256sum rustup-init | cut -d' ' -f1) ]] ||
            die "the download of rustup is damaged: start again"
        chmod +x rustup-init
        ./rustup-init -y --profile minimal --default-toolchain none >/dev/null 2>&1
    )
    rm -rf "$folder"
    hash -r
}

go_version() { (cd / && go env GOVERSION 2>/dev/null) | sed 's/^go//'; }

install_go() {
    have go && at_least "$go_minimum" "$(go_version)" && return
    have go || install_packages go:golang-go
    at_least "$go_minimum" "$(go_version)" && return
    # A release such as Debian 12's cannot fetch newer ones on its own, but can download them like
    # any module.
    local module folder
    module=golang.org/toolchain@v0.0.1-go$go_release.linux-$(go env GOARCH)
    say "Go $(go_version) is too old: downloading $go_release"
    (cd / && go mod download "$module")
    folder=$(go env GOMODCACHE)/$module
    [[ -x $folder/bin/go ]] || {
        # Old releases drop the permission to run what they unpack.
        find "$folder" -type d -exec chmod u+w {} +
        chmod -R u+x "$folder/bin" "$folder/pkg/tool"
    }
    PATH=$folder/bin:$PATH
    hash -r
    at_least "$go_minimum" "$(go_version)" || die "Go $go_release cannot be installed: install Go $go_minimum or later"
}

install_cargo_deny() {
    (cd "$root" && cargo deny --version >/dev/null 2>&1) && return
    say "Installing cargo-deny $cargo_deny_version (a few minutes)"
    # Not optimised: it runs for a second.
    (cd "$root" && env -u CARGO_TARGET_DIR cargo install --quiet --locked --debug "cargo-deny@$cargo_deny_version")
}
