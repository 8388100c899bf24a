//! The syntax of a configuration file: `java.util.Properties`, as ZooKeeper reads `zoo.cfg`.
//!
//! Spec: `spec/6-server.md`, "Configuration". What it must never do: fail. Every text is a list of
//! properties; what they mean is for the caller to judge.

/// One property and the line (from 1) on which it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    pub line: usize,
    pub key: String,
    /// Without the white space around it.
    pub value: String,
}

/// The properties of a text, in order.
pub fn parse(text: &str) -> Vec<Property> {
    let mut properties = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, first)) = lines.next() {
        let first = first.trim_start();
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        // An odd number of backslashes at the end continues the line.
        while logical.bytes().rev().take_while(|&b| b == b'\\').count() % 2 == 1 {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start()),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        properties.push(Property {
            line: index + 1,
            key: unescape(key),
            value: unescape(value).trim().to_owned(),
        });
    }
    properties
}

/// Splits at the first `=`, `:` or white space that is not escaped.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line.find(|c: char| {
        let ends = !escaped && (c == '=' || c == ':' || c.is_whitespace());
        escaped = c == '\\' && !escaped;
        ends
    });
    let Some(end) = end else {
        return (line, "");
    };
    let rest = line[end..].trim_start();
    (&line[..end], rest.strip_prefix(['=', ':']).unwrap_or(rest))
}

fn unescape(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            result.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => result.push('\t'),
            Some('n') => result.push('\n'),
            Some('r') => result.push('\r'),
            Some('f') => result.push('\u{c}'),
            Some('u') => {
                let hex: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32);
                result.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => result.push(other),
            None => {}
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).into_iter().map(|p| (p.key, p.value)).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn comments_and_blank_lines_are_no_properties() {
        assert_eq!(pairs("# a=1\n\n   ! b=2\n \t\n"), []);
    }

    #[test]
    fn keys_end_at_equals_colon_or_white_space() {
        assert_eq!(
            pairs("a=1\nb:2\nc 3\n d = 4 \ne\nf==5"),
            [
                pair("a", "1"),
                pair("b", "2"),
                pair("c", "3"),
                pair("d", "4"),
                pair("e", ""),
                pair("f", "=5")
            ]
        );
    }

    #[test]
    fn a_backslash_continues_a_line_and_escapes_a_character() {
        assert_eq!(
            pairs("dir=/a\\\n   /b\nk\\=x=c\\u0041\\:\\\\"),
            [pair("dir", "/a/b"), pair("k=x", "cA:\\")]
        );
        assert_eq!(parse("a=1\\\n2\nb=3")[1].line, 3);
    }

    #[test]
    fn a_value_keeps_its_own_colons() {
        assert_eq!(
            pairs("server.1=h:2888:3888;2181\r\n"),
            [pair("server.1", "h:2888:3888;2181")]
        );
    }

    proptest! {
        #[test]
        fn every_text_is_a_list_of_properties(text in "\\PC*|[a-z=: \\\\\n#!\t]*") {
            parse(&text);
        }

        #[test]
        fn what_is_written_plainly_is_read_back(
            entries in prop::collection::vec(("[a-zA-Z0-9._]{1,12}", "[a-zA-Z0-9/.;:-]{0,20}"), 0..10),
        ) {
            let text: String = entries.iter().map(|(k, v)| format!("  {k} = {v}  \n# {v}\n\n")).collect();
            prop_assert_eq!(pairs(&text), entries);
        }
    }
}
