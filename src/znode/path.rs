//! Paths of znodes: which are valid, and how they come apart.
//!
//! Spec: `spec/5-service.md`, "The tree"; the rules are those of ZooKeeper's client and server. What
//! it must never do: accept a path that ZooKeeper refuses, or refuse one that it accepts.

use thiserror::Error;

/// Why a path is not valid. Positions count UTF-16 units, as ZooKeeper's own messages do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// The path has no characters.
    #[error("a path must not be empty: the root is \"/\"")]
    Empty,
    /// The first character is not a slash.
    #[error("a path must start with '/'")]
    Relative,
    /// The last character of a path other than the root is a slash.
    #[error("a path must not end with '/'")]
    TrailingSlash,
    /// Two slashes follow one another.
    #[error("a path must not hold an empty node name, as at position {0}")]
    EmptyName(usize),
    /// An element is `.` or `..`.
    #[error("a path must not hold '.' or '..' as a node name, as at position {0}")]
    Dots(usize),
    /// A character that no path may hold: NUL, control characters, and the ranges U+D800 to U+F8FF
    /// (in UTF-16: so every character above U+FFFF too) and U+FFF0 to U+FFFF.
    #[error("a path must not hold the character U+{unit:04X}, as at position {at}")]
    Forbidden {
        /// The UTF-16 unit.
        unit: u16,
        /// Where it stands.
        at: usize,
    },
}

/// Says whether `path` may name a znode.
pub fn validate(path: &str) -> Result<(), PathError> {
    if path.is_empty() {
        return Err(PathError::Empty);
    }
    if !path.starts_with('/') {
        return Err(PathError::Relative);
    }
    if path.len() == 1 {
        return Ok(());
    }
    if path.ends_with('/') {
        return Err(PathError::TrailingSlash);
    }
    let mut at = 1;
    for name in path[1..].split('/') {
        if name.is_empty() {
            return Err(PathError::EmptyName(at));
        }
        if name == "." || name == ".." {
            return Err(PathError::Dots(at + name.len() - 1));
        }
        for unit in name.encode_utf16() {
            if is_forbidden(unit) {
                return Err(PathError::Forbidden { unit, at });
            }
            at += 1;
        }
        at += 1;
    }
    Ok(())
}

/// Says whether a create of `path` in a sequential mode may go on: the suffix completes the last
/// name, so it may be empty, `.` or `..` before.
pub fn validate_sequential(path: &str) -> Result<(), PathError> {
    validate(&format!("{path}1"))
}

const fn is_forbidden(unit: u16) -> bool {
    matches!(unit, 0..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff)
}

/// The path of the znode above; `None` for the root and for what is not an absolute path.
pub fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        0 if path.len() == 1 => None,
        0 => Some("/"),
        slash => Some(&path[..slash]),
    }
}

/// The last name of the path; empty for the root.
pub fn basename(path: &str) -> &str {
    path.rfind('/').map_or(path, |slash| &path[slash + 1..])
}

/// The path of the child `name` of `parent`.
pub fn join(parent: &str, name: &str) -> String {
    match parent {
        "/" => format!("/{name}"),
        _ => format!("{parent}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_is_absolute_and_has_no_empty_or_relative_name() {
        let cases = [
            ("", Err(PathError::Empty)),
            ("/", Ok(())),
            ("/a", Ok(())),
            ("/a/b-c_d e/ü/漢", Ok(())),
            ("a", Err(PathError::Relative)),
            ("a/b", Err(PathError::Relative)),
            ("/a/", Err(PathError::TrailingSlash)),
            ("//", Err(PathError::TrailingSlash)),
            ("//a", Err(PathError::EmptyName(1))),
            ("/a//b", Err(PathError::EmptyName(3))),
            ("/.", Err(PathError::Dots(1))),
            ("/..", Err(PathError::Dots(2))),
            ("/a/./b", Err(PathError::Dots(3))),
            ("/a/..", Err(PathError::Dots(4))),
            ("/a/...", Ok(())),
            ("/.a/b./a.b/..c", Ok(())),
        ];
        for (path, expected) in cases {
            assert_eq!(validate(path), expected, "{path:?}");
        }
    }

    #[test]
    fn a_path_holds_no_control_private_or_special_character() {
        let units = [
            '\0', '\u{1}', '\u{1f}', '\u{7f}', '\u{9f}', '\u{e000}', '\u{f8ff}', '\u{fff0}',
            '\u{ffff}',
        ];
        for forbidden in units {
            let unit = forbidden as u32 as u16;
            let path = format!("/a{forbidden}");
            assert_eq!(validate(&path), Err(PathError::Forbidden { unit, at: 2 }));
        }
        for allowed in [' ', '~', '\u{a0}', '\u{d7ff}', '\u{f900}', '\u{ffef}'] {
            assert_eq!(validate(&format!("/{allowed}")), Ok(()), "{allowed:?}");
        }
        // ZooKeeper looks at the two halves that UTF-16 has of a character beyond U+FFFF.
        let expected = PathError::Forbidden {
            unit: 0xd83d,
            at: 1,
        };
        assert_eq!(validate("/😀"), Err(expected));
    }

    #[test]
    fn the_suffix_of_a_sequential_path_completes_its_name() {
        assert_eq!(validate_sequential("/a/"), Ok(()));
        assert_eq!(validate_sequential("/"), Ok(()));
        assert_eq!(validate_sequential("/a/."), Ok(()));
        assert_eq!(validate_sequential("/a//"), Err(PathError::EmptyName(3)));
        assert_eq!(validate_sequential("a"), Err(PathError::Relative));
        assert_eq!(validate_sequential(""), Err(PathError::Relative));
    }

    #[test]
    fn the_root_has_no_parent() {
        assert_eq!(parent("/"), None);
        assert_eq!(parent("/a"), Some("/"));
        assert_eq!(parent("/a/b"), Some("/a"));
        assert_eq!(parent("a"), None);
        assert_eq!(basename("/"), "");
        assert_eq!(basename("/a/b"), "b");
    }

    proptest! {
        #[test]
        fn any_text_is_judged_without_a_panic(path in "\\PC*|[/.a\\x00]*") {
            let _ = validate(&path);
            let _ = validate_sequential(&path);
            let _ = (parent(&path), basename(&path));
        }

        #[test]
        fn parent_and_name_make_the_path(path in "(/[a-c.]{1,3}){1,4}") {
            prop_assert_eq!(join(parent(&path).unwrap(), basename(&path)), path);
        }

        #[test]
        fn a_valid_path_has_a_valid_parent(path in "(/[a-c.]{1,3}){1,4}") {
            prop_assume!(validate(&path).is_ok());
            prop_assert_eq!(validate(parent(&path).unwrap()), Ok(()));
        }
    }
}
