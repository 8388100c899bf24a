//! Text for a terminal: 100 columns, and colours only where somebody looks.

use std::io::IsTerminal;

/// The most columns of a line that `check` prints.
pub const COLUMNS: usize = 100;

/// Whether text is coloured.
#[derive(Clone, Copy, Debug)]
pub struct Paint(bool);

impl Paint {
    /// Without colours.
    #[cfg(test)]
    pub const PLAIN: Self = Self(false);

    /// Colours if the standard output is a terminal and nobody has asked for none (see no-color.org).
    pub fn of_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(std::io::stdout().is_terminal() && !unwanted)
    }

    /// What has changed.
    pub fn changed(self, text: &str) -> String {
        self.paint("36", text)
    }

    /// What stands out.
    pub fn strong(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What is broken.
    pub fn broken(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    /// What may be passed over.
    pub fn quiet(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self.0 {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// `text` after `start`, broken between words where it would be longer than a line; what follows stands
/// `indent` columns to the right. A word that is longer than a line stays whole.
pub fn wrapped(start: &str, indent: usize, text: &str) -> String {
    lines_of(COLUMNS, start, indent, text).join("\n")
}

/// A command, in lines that a shell takes for one.
pub fn command(text: &str) -> String {
    lines_of(COLUMNS - 2, "  ", 4, text).join(" \\\n")
}

fn lines_of(columns: usize, start: &str, indent: usize, text: &str) -> Vec<String> {
    let mut lines = vec![start.to_owned()];
    for (place, word) in text.split(' ').enumerate() {
        let line = lines.last_mut().expect("the first line is there");
        let length = line.chars().count() + usize::from(place > 0) + word.chars().count();
        if length > columns && line.chars().count() > indent {
            lines.push(format!("{:indent$}{word}", ""));
        } else {
            if place > 0 {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_broken_between_words_and_no_word_is_lost() {
        let text = "zab ".repeat(60);
        let lines = wrapped("1. ", 3, text.trim_end());
        assert!(lines.lines().count() > 1);
        assert!(lines.lines().all(|line| line.chars().count() <= COLUMNS));
        assert!(lines.lines().skip(1).all(|line| line.starts_with("   zab")));
        let words: Vec<_> = lines.split_whitespace().skip(1).collect();
        assert_eq!(words.len(), 60);
    }

    #[test]
    fn a_long_command_goes_on_after_a_backslash() {
        let lines = command(&"check ".repeat(30));
        assert!(lines.lines().count() > 1);
        assert!(lines.lines().all(|line| line.chars().count() <= COLUMNS));
        let (last, others) = lines.split_once('\n').expect("more than one line");
        assert!(last.ends_with(" \\") && !others.ends_with('\\'));
    }

    #[test]
    fn a_short_line_stays_as_it_is() {
        assert_eq!(wrapped("> ", 4, "s1  down"), "> s1  down");
    }
}
