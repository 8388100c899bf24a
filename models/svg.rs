//! Sequence diagrams, in SVG: time downwards, what happens at the left, a lane for each server and client.
//!
//! What it must never do: draw one thing over the words of another.

use std::fmt::Write as _;

/// A diagram of a path through the states of a model.
pub struct Diagram {
    pub title: String,
    /// The lanes, by name.
    pub lanes: Vec<String>,
    /// The state at the beginning, if that is shown, and each step.
    pub rows: Vec<Row>,
    /// What is broken after the last step, and why.
    pub broken: Option<String>,
}

/// What happens, and how the lanes stand after it.
pub struct Row {
    /// As it is numbered on paper: 0 is the beginning.
    pub number: u64,
    pub text: String,
    pub stands: Vec<Stand>,
    /// What stands out, and on which lane.
    pub marks: Vec<(usize, Mark)>,
    pub arrow: Option<Arrow>,
}

/// How a lane is drawn until something changes, and the words at the change.
#[derive(Clone, PartialEq, Eq)]
pub struct Stand {
    pub kind: Kind,
    pub words: String,
}

/// What a lane looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Down,
    Idle,
    Follows,
    Leads,
}

/// A sign on a lane.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Something happens here.
    Step,
    /// Something fails here.
    Fault,
    /// Somebody has waited too long.
    Timeout,
}

/// From the lane and the row in which something was sent; it ends on a lane of its own row.
pub struct Arrow {
    pub from: usize,
    pub since: usize,
    pub to: usize,
}

const LANE: usize = 168;
const LETTER: usize = 7;
const LINE: usize = 16;
const GAP: usize = 16;
const TOP: usize = 74;
const MARGIN: usize = 20;
/// The most letters of a line of the words at the left.
const WIDEST: usize = 80;
/// How far the second line of the words stands to the right of the first, in letters.
const INDENT: usize = 3;

impl Diagram {
    pub fn draw(&self) -> String {
        let numbered = self
            .rows
            .iter()
            .map(|row| format!("{}. {}", row.number, row.text));
        let texts: Vec<_> = numbered.map(|text| lines_of(&text, WIDEST)).collect();
        let letters = texts
            .iter()
            .flatten()
            .map(|line| line.chars().count())
            .max();
        let left = MARGIN + (letters.unwrap_or(0) + INDENT) * LETTER + GAP;
        let width = left + LANE * self.lanes.len() + MARGIN;
        let mut heights = Vec::new();
        let mut y = TOP;
        for text in &texts {
            heights.push(y);
            y += text.len() * LINE + GAP;
        }
        let broken = self.broken.as_deref().map(|broken| {
            let letters = (width - 2 * MARGIN - 2 * GAP) / LETTER;
            lines_of(&format!("BROKEN: {broken}"), letters)
        });
        let end = y;
        let height = end
            + broken
                .as_ref()
                .map_or(0, |lines| lines.len() * LINE + 2 * GAP);
        let mut pen = Pen {
            svg: String::new(),
            left,
            rows: heights,
            end,
        };
        pen.begin(width, height, &self.title);
        pen.lanes(self);
        for row in (0..self.rows.len()).rev() {
            pen.arrow(self.rows[row].arrow.as_ref(), row);
        }
        for (row, lines) in texts.iter().enumerate() {
            pen.row(&self.rows[row], row, lines);
        }
        pen.changes(self);
        if let Some(lines) = broken {
            pen.broken(&lines, width);
        }
        pen.svg.push_str("</svg>\n");
        pen.svg
    }
}

/// What is drawn, and where.
struct Pen {
    svg: String,
    /// Where the lanes begin.
    left: usize,
    /// Where each row is.
    rows: Vec<usize>,
    /// Where the lanes end.
    end: usize,
}

impl Pen {
    fn begin(&mut self, width: usize, height: usize, title: &str) {
        let title = escape(title);
        // Where there is less room it shrinks, as long as it can be read: beside the lists of the explorer too.
        let least = width / 4 * 3;
        let _ = write!(
            self.svg,
            "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' \
             viewBox='0 0 {width} {height}' \
             style='max-width:100%;min-width:{least}px;height:auto' font-family='monospace' font-size='11.5'>\
             <defs><marker id='arrow' viewBox='0 0 10 10' refX='10' refY='5' markerWidth='7' \
             markerHeight='7' orient='auto'><path d='M0 0L10 5L0 10z' fill='#3b7dc4'/></marker></defs>\
             <rect width='{width}' height='{height}' fill='#ffffff'/>\
             <text x='{MARGIN}' y='24' font-weight='bold' font-size='14' fill='#222'>{title}</text>"
        );
    }

    fn x(&self, lane: usize) -> usize {
        self.left + lane * LANE + GAP
    }

    fn lanes(&mut self, diagram: &Diagram) {
        for (lane, name) in diagram.lanes.iter().enumerate() {
            let (x, name) = (self.x(lane), escape(name));
            let _ = write!(
                self.svg,
                "<text x='{x}' y='{}' text-anchor='middle' font-weight='bold' fill='#222'>{name}\
                 </text>",
                TOP - 22
            );
            for (row, stands) in diagram.rows.iter().enumerate() {
                let (y1, y2) = (self.rows[row], self.rows.get(row + 1).unwrap_or(&self.end));
                let style = match stands.stands[lane].kind {
                    Kind::Down => "stroke='#c0392b' stroke-dasharray='1 6'",
                    Kind::Idle => "stroke='#999'",
                    Kind::Follows => "stroke='#7fb2e5' stroke-width='3'",
                    Kind::Leads => "stroke='#e08e0b' stroke-width='5'",
                };
                let _ = write!(
                    self.svg,
                    "<line x1='{x}' y1='{y1}' x2='{x}' y2='{y2}' {style}/>"
                );
            }
        }
    }

    fn arrow(&mut self, arrow: Option<&Arrow>, row: usize) {
        let Some(Arrow { from, since, to }) = arrow else {
            return;
        };
        let (x1, x2) = (self.x(*from), self.x(*to));
        // The head stays clear of the sign on the lane.
        let x2 = if x1 < x2 { x2 - 5 } else { x2 + 5 };
        let (y1, y2) = (self.rows[*since], self.rows[row]);
        let _ = write!(
            self.svg,
            "<line x1='{x1}' y1='{y1}' x2='{x2}' y2='{y2}' stroke='#3b7dc4' opacity='0.8' \
             marker-end='url(#arrow)'/>"
        );
    }

    fn row(&mut self, row: &Row, number: usize, lines: &[String]) {
        let y = self.rows[number];
        let fault = row.marks.iter().any(|(_, mark)| *mark == Mark::Fault);
        let colour = if fault { "#c0392b" } else { "#222" };
        for (line, text) in lines.iter().enumerate() {
            let x = MARGIN + if line == 0 { 0 } else { INDENT * LETTER };
            self.words(x, y + 4 + line * LINE, colour, text);
        }
        for (lane, mark) in &row.marks {
            let x = self.x(*lane);
            let _ = match mark {
                Mark::Step => write!(self.svg, "<circle cx='{x}' cy='{y}' r='4' fill='#222'/>"),
                Mark::Fault => write!(
                    self.svg,
                    "<path d='M{} {}l12 12m0 -12l-12 12' stroke='#c0392b' stroke-width='3'/>",
                    x - 6,
                    y - 6
                ),
                Mark::Timeout => write!(
                    self.svg,
                    "<circle cx='{x}' cy='{y}' r='7' fill='#fff' stroke='#8e44ad' stroke-width='2'/>\
                     <path d='M{x} {}v4h4' fill='none' stroke='#8e44ad' stroke-width='1.5'/>",
                    y - 4
                ),
            };
        }
    }

    /// The words beside a lane where it changes.
    fn changes(&mut self, diagram: &Diagram) {
        for lane in 0..diagram.lanes.len() {
            let mut last = "";
            for (row, stands) in diagram.rows.iter().enumerate() {
                let words = &stands.stands[lane].words;
                if words != last {
                    let (x, y) = (self.x(lane) + 10, self.rows[row] + LINE);
                    self.words(x, y, "#7a5200", words);
                }
                last = words;
            }
        }
    }

    fn broken(&mut self, lines: &[String], width: usize) {
        let (y, height) = (self.end, lines.len() * LINE + GAP);
        let _ = write!(
            self.svg,
            "<rect x='{MARGIN}' y='{y}' width='{}' height='{height}' rx='4' fill='#fdecea' \
             stroke='#c0392b'/>",
            width - 2 * MARGIN
        );
        for (line, text) in lines.iter().enumerate() {
            let y = y + GAP / 2 + 12 + line * LINE;
            let (x, text) = (MARGIN + GAP, escape(text));
            let _ = write!(
                self.svg,
                "<text x='{x}' y='{y}' fill='#a02a1c'>{text}</text>"
            );
        }
    }

    fn words(&mut self, x: usize, y: usize, colour: &str, text: &str) {
        let text = escape(text);
        let _ = write!(
            self.svg,
            "<text x='{x}' y='{y}' fill='{colour}' stroke='#ffffff' stroke-width='5' \
             stroke-linejoin='round' paint-order='stroke'>{text}</text>"
        );
    }
}

/// A text in lines of so many letters, broken between words; a word that is longer is broken too.
fn lines_of(text: &str, letters: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut rest: Vec<char> = word.chars().collect();
        while !rest.is_empty() {
            let line = lines.last_mut().expect("the first line is there");
            let used = line.chars().count();
            let space = usize::from(used > 0);
            if used + space + rest.len() <= letters {
                line.extend(std::iter::repeat_n(' ', space));
                line.extend(rest.drain(..));
            } else if used > 0 {
                lines.push(String::new());
            } else {
                line.extend(rest.drain(..letters.min(rest.len())));
            }
        }
    }
    lines
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&apos;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand(kind: Kind, words: &str) -> Stand {
        let words = words.to_owned();
        Stand { kind, words }
    }

    #[test]
    fn a_diagram_is_well_formed_and_shows_every_step_and_what_is_broken() {
        let row = |number, text: &str, mark| Row {
            number,
            text: text.to_owned(),
            stands: vec![stand(Kind::Leads, "LEADING 1"), stand(Kind::Down, "down")],
            marks: vec![(1, mark)],
            arrow: Some(Arrow {
                from: 0,
                since: 0,
                to: 1,
            }),
        };
        let diagram = Diagram {
            title: "a < b".to_owned(),
            lanes: vec!["server 1".to_owned(), "server 2".to_owned()],
            rows: vec![
                row(0, "at first", Mark::Step),
                row(1, "it's & crashes", Mark::Fault),
            ],
            broken: Some("agreement: ".to_owned() + &"word ".repeat(100)),
        };
        let svg = diagram.draw();
        for expected in [
            "a &lt; b",
            "1. it&apos;s &amp; crashes",
            "BROKEN: agreement",
            "LEADING 1",
        ] {
            assert!(svg.contains(expected), "{expected}");
        }
        assert_eq!(svg.matches("LEADING 1").count(), 1, "said where it changes");
        assert_eq!(svg.matches("<text").count(), svg.matches("</text>").count());
    }

    #[test]
    fn words_are_broken_into_lines_that_fit() {
        let lines = lines_of("one two three fourteen-letters", 9);
        assert_eq!(lines, ["one two", "three", "fourteen-", "letters"]);
    }
}
