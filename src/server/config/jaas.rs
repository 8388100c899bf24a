//! The file that `java.security.auth.login.config` names: users and passwords of SASL.
//!
//! Spec: `spec/6-server.md`, "Authentication". What it must never do: panic on what a file says, or
//! show a password.
//!
//! A file holds sections `Name { module flag option="value" ...; ... };`. The section of the server
//! counts, and in it the options `user_NAME="password"`, as for ZooKeeper's DigestLoginModule.

use std::collections::BTreeMap;
use std::fmt;

/// A password; it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// The users of one section; `None` if the file has no such section.
///
/// # Errors
/// If the text is not of the form above: the line (from 1) and what is wrong there.
pub fn users(text: &str, section: &str) -> Result<Option<Users>, (usize, String)> {
    let mut reader = Reader::new(text);
    let mut found = None;
    while let Some(name) = reader.next()? {
        let users = reader.section()?;
        if name.text == section {
            found = Some(users);
        }
    }
    Ok(found)
}

/// Passwords by the names of their users.
pub type Users = BTreeMap<String, Password>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    text: String,
    /// One of the four signs, and not a word or a text in quotation marks.
    is_sign: bool,
}

impl Token {
    fn is(&self, sign: char) -> bool {
        self.is_sign && self.text.starts_with(sign)
    }
}

struct Reader<'a> {
    chars: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            chars: text.chars().peekable(),
            line: 1,
        }
    }

    fn fail<T>(&self, problem: &str) -> Result<T, (usize, String)> {
        Err((self.line, problem.to_owned()))
    }

    fn char(&mut self) -> Option<char> {
        let next = self.chars.next();
        self.line += usize::from(next == Some('\n'));
        next
    }

    /// What stands between a section's braces, up to the semicolon after them.
    fn section(&mut self) -> Result<Users, (usize, String)> {
        let mut users = Users::new();
        if !self.next()?.is_some_and(|token| token.is('{')) {
            return self.fail("the name of a section must be followed by {");
        }
        let mut last: Option<String> = None;
        loop {
            match self.next()? {
                None => return self.fail("the section has no end"),
                Some(token) if token.is('}') => break,
                Some(token) if token.is('=') => {
                    let (Some(key), Some(value)) = (last.take(), self.next()?) else {
                        return self.fail("= must stand between an option and its value");
                    };
                    if let Some(user) = key.strip_prefix("user_") {
                        users.insert(user.to_owned(), Password(value.text));
                    }
                }
                // The module, its flag, the semicolon after it: they are read for their place only.
                Some(token) => last = (!token.is_sign).then_some(token.text),
            }
        }
        match self.next()? {
            Some(token) if token.is(';') => Ok(users),
            _ => self.fail("a section must end with };"),
        }
    }

    /// The next word, quoted text or sign.
    fn next(&mut self) -> Result<Option<Token>, (usize, String)> {
        loop {
            let Some(first) = self.char() else {
                return Ok(None);
            };
            let text = match first {
                c if c.is_whitespace() => continue,
                '#' => {
                    self.skip_line();
                    continue;
                }
                '/' if self.chars.peek() == Some(&'/') => {
                    self.skip_line();
                    continue;
                }
                '/' if self.chars.peek() == Some(&'*') => {
                    self.skip_comment()?;
                    continue;
                }
                '{' | '}' | ';' | '=' => {
                    return Ok(Some(Token {
                        text: first.into(),
                        is_sign: true,
                    }));
                }
                '"' | '\'' => self.quoted(first)?,
                first => self.word(first),
            };
            return Ok(Some(Token {
                text,
                is_sign: false,
            }));
        }
    }

    fn skip_line(&mut self) {
        while self.char().is_some_and(|c| c != '\n') {}
    }

    fn skip_comment(&mut self) -> Result<(), (usize, String)> {
        self.char();
        loop {
            match self.char() {
                Some('*') if self.chars.peek() == Some(&'/') => {
                    self.char();
                    return Ok(());
                }
                Some(_) => {}
                None => return self.fail("a comment has no end"),
            }
        }
    }

    fn quoted(&mut self, end: char) -> Result<String, (usize, String)> {
        let mut text = String::new();
        loop {
            match self.char() {
                Some('\\') => text.extend(self.char()),
                Some(c) if c == end => return Ok(text),
                Some('\n') | None => return self.fail("a text in quotation marks has no end"),
                Some(c) => text.push(c),
            }
        }
    }

    fn word(&mut self, first: char) -> String {
        let mut text = String::from(first);
        let ends = |c: &char| c.is_whitespace() || "{};=\"'".contains(*c);
        while let Some(c) = self.chars.next_if(|c| !ends(c)) {
            text.push(c);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Vec<(String, String)> {
        let users = users(text, "Server").unwrap().unwrap();
        users.into_iter().map(|(n, p)| (n, p.0)).collect()
    }

    fn pair(user: &str, password: &str) -> (String, String) {
        (user.to_owned(), password.to_owned())
    }

    #[test]
    fn the_users_of_the_servers_section_are_found_among_comments_and_others() {
        let text = r#"
            // one
            Client { a.B required username="c" password="p"; };
            Server { /* two
                * lines */
                org.apache.zookeeper.server.auth.DigestLoginModule required # three
                user_super="super_secret"
                debug=true user_ann = "a \"b\" = ; }";
            };"#;
        let expected = [pair("ann", "a \"b\" = ; }"), pair("super", "super_secret")];
        assert_eq!(read(text), expected);
        assert_eq!(users(text, "Other"), Ok(None));
        assert_eq!(users("", "Server"), Ok(None));
    }

    #[test]
    fn what_is_malformed_is_named_with_its_line() {
        let cases = [
            ("Server\n{ a required", 2, "has no end"),
            ("Server x {};", 1, "followed by {"),
            ("Server {\n a=\"b\n\"; };", 3, "quotation marks"),
            ("Server {\n = x; };", 2, "= must stand"),
            ("Server { a b; }", 1, "end with };"),
            ("/* x", 1, "comment"),
        ];
        for (text, line, problem) in cases {
            let (at, said) = users(text, "Server").unwrap_err();
            assert!(at == line && said.contains(problem), "{text}: {at} {said}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let users = users("Server { m required user_a=\"secret\"; };", "Server");
        assert!(!format!("{users:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in r#"([Sserv ]|[{};="'/*#\\\n]|user_a|Server \{)*"#) {
            let _ = users(&text, "Server");
        }
    }
}
