#!/bin/sh
# foldhash 0.2.0 (Rust): what a hash is made of does not say how many bytes were written.
#
# One would guess that values of different widths have different hashes, but for bad luck once in 2^64: SipHash, std's default,
# mixes in how much was written. foldhash gathers the integers that it is given side by side, and pads with zeros. So (1u8,) and
# (1u8, 0u8) have one hash, always, and so have 7u8, 7u16, 7u32 and 7u64; and the key of one thing, a short tuple, can be that of two
# things, a longer one. Slices and strings are safe, because their lengths are written before them.
#
# What follows: keys of different shapes in one table that is compared by hash alone need a tag in front, as an enum writes it.
#
# Needs cargo and a registry of crates. Fails if the behaviour changes.
set -eu
dir="$(mktemp -d)"
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat > "$dir/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
foldhash = "=0.2.0"
[workspace]
TOML
cat > "$dir/src/main.rs" <<'RUST'
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

fn main() {
    let fold = foldhash::fast::FixedState::default();
    let quality = foldhash::quality::FixedState::default();
    let sip = BuildHasherDefault::<DefaultHasher>::default();
    macro_rules! same {
        ($a:expr, $b:expr) => {
            println!(
                "{} and {}: foldhash fast {}, quality {}, SipHash {}",
                stringify!($a),
                stringify!($b),
                fold.hash_one($a) == fold.hash_one($b),
                quality.hash_one($a) == quality.hash_one($b),
                sip.hash_one($a) == sip.hash_one($b)
            )
        };
    }
    same!((1u8,), (1u8, 0u8));
    same!(7u8, 7u64);
    same!((1u8, 258u32, 0u32), (1u8, 2u8, 1u32, 0u32));
    same!(&[1u8][..], &[1u8, 0][..]);
}
RUST
found="$(cargo run --quiet --manifest-path "$dir/Cargo.toml")"
echo "$found"
expected="(1u8,) and (1u8, 0u8): foldhash fast true, quality true, SipHash false
7u8 and 7u64: foldhash fast true, quality true, SipHash false
(1u8, 258u32, 0u32) and (1u8, 2u8, 1u32, 0u32): foldhash fast true, quality true, SipHash false
&[1u8][..] and &[1u8, 0][..]: foldhash fast false, quality false, SipHash false"
[ "$found" = "$expected" ]
