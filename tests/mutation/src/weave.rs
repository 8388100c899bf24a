//! Puts every mutant of a file into that file, each behind a question: is it you that was chosen?
//!
//! `a > b` with the mutants 7 (`==`) and 8 (`<`) becomes `if is(7) { a == b } else if is(8) { a < b } else { a > b }`,
//! so one compilation serves all mutants. What it must never do: change what the file means when no mutant is chosen.

use crate::list::{Genre, Mutant};
use proc_macro2::{LineColumn, Span};
use quote::quote;
use std::collections::BTreeSet;
use syn::spanned::Spanned;
use syn::visit::Visit;
use syn::visit_mut::{self, VisitMut};
use syn::{Arm, BinOp, Block, Expr, ExprIf, Stmt, UnOp, parse_quote};

/// The file with its mutants inside, and which of them could not be put in.
pub fn weave(source: &str, mutants: &[&Mutant]) -> (String, BTreeSet<usize>) {
    let mut file = syn::parse_file(source).expect("the sources of the crate parse");
    let mut weaver = Weaver {
        mutants,
        woven: BTreeSet::new(),
    };
    weaver.visit_file_mut(&mut file);
    let all = mutants.iter().map(|mutant| mutant.id);
    let left_out = all.filter(|id| !weaver.woven.contains(id)).collect();
    (prettyplease::unparse(&file), left_out)
}

/// The mutant whose own code, in a woven file, stands at that place: the innermost one.
pub fn mutant_at(woven: &str, line: usize, column: usize) -> Option<usize> {
    let file = syn::parse_file(woven).ok()?;
    let mut finder = Finder {
        place: LineColumn { line, column },
        found: None,
    };
    finder.visit_file(&file);
    finder.found
}

struct Weaver<'a> {
    mutants: &'a [&'a Mutant],
    woven: BTreeSet<usize>,
}

impl<'a> Weaver<'a> {
    /// The mutants of a kind that begin at a place, which are woven in from now on.
    fn take(&mut self, genre: Genre, span: Span) -> Vec<&'a Mutant> {
        let LineColumn { line, column } = span.start();
        let here = |m: &&&Mutant| {
            m.genre == genre && (m.span.start.line, m.span.start.column) == (line, column + 1)
        };
        let found: Vec<_> = self.mutants.iter().filter(here).copied().collect();
        self.woven.extend(found.iter().map(|mutant| mutant.id));
        found
    }
}

fn is(id: usize) -> Expr {
    parse_quote!(crate::mutant::is(#id))
}

/// Chooses between the alternatives and the original.
fn choose(alternatives: Vec<(usize, Expr)>, original: Expr) -> Expr {
    let mut chosen = original;
    for (id, alternative) in alternatives.into_iter().rev() {
        let is = is(id);
        chosen = parse_quote!((if #is { #alternative } else { #chosen }));
    }
    chosen
}

impl VisitMut for Weaver<'_> {
    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        // Places are those of the original, so they are asked for before anything inside changes.
        let mutants = match &*expr {
            Expr::Binary(binary)
                if !matches!(*binary.left, Expr::Let(_))
                    && !matches!(*binary.right, Expr::Let(_)) =>
            {
                self.take(Genre::BinaryOperator, binary.op.span())
            }
            Expr::Unary(unary) => self.take(Genre::UnaryOperator, unary.op.span()),
            _ => Vec::new(),
        };
        let fields: Vec<_> = match &*expr {
            Expr::Struct(it) => it
                .fields
                .iter()
                .enumerate()
                .flat_map(|(index, field)| {
                    let found = self.take(Genre::StructField, field.span());
                    found.into_iter().map(move |mutant| (index, mutant.id))
                })
                .collect(),
            _ => Vec::new(),
        };
        visit_mut::visit_expr_mut(self, expr);
        let mut alternatives = Vec::new();
        for mutant in mutants {
            let alternative = match &*expr {
                Expr::Binary(binary) => {
                    let mut binary = binary.clone();
                    binary.op = syn::parse_str::<BinOp>(&mutant.replacement).expect("an operator");
                    Expr::Binary(binary)
                }
                Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_) | UnOp::Neg(_)) => {
                    (*unary.expr).clone()
                }
                _ => continue,
            };
            alternatives.push((mutant.id, alternative));
        }
        for (index, id) in fields {
            if let Expr::Struct(it) = &*expr {
                let mut it = it.clone();
                let all = it.fields.iter().enumerate();
                it.fields = all
                    .filter(|(i, _)| *i != index)
                    .map(|(_, field)| field.clone())
                    .collect();
                if !it.fields.empty_or_trailing() {
                    it.fields.push_punct(Default::default());
                }
                alternatives.push((id, Expr::Struct(it)));
            }
        }
        if !alternatives.is_empty() {
            let original = std::mem::replace(expr, Expr::PLACEHOLDER);
            *expr = choose(alternatives, original);
        }
    }

    fn visit_arm_mut(&mut self, arm: &mut Arm) {
        let deleted = self.take(Genre::MatchArm, arm.span());
        let guards = match &arm.guard {
            Some((_, guard)) => self.take(Genre::MatchArmGuard, guard.span()),
            None => Vec::new(),
        };
        visit_mut::visit_arm_mut(self, arm);
        if let Some((_, guard)) = &mut arm.guard {
            let alternatives = guards.into_iter().map(|mutant| {
                let value = syn::parse_str(&mutant.replacement).expect("true or false");
                (mutant.id, value)
            });
            let alternatives: Vec<_> = alternatives.collect();
            let original = (**guard).clone();
            **guard = choose(alternatives, original);
        }
        for mutant in deleted {
            let is = is(mutant.id);
            let guard: Expr = match arm.guard.take() {
                Some((_, guard)) => parse_quote!(!#is && (#guard)),
                None => parse_quote!(!#is),
            };
            arm.guard = Some((Default::default(), Box::new(guard)));
        }
    }

    fn visit_item_fn_mut(&mut self, item: &mut syn::ItemFn) {
        let mutants = self.of_body(&item.block);
        visit_mut::visit_item_fn_mut(self, item);
        early_returns(&mut item.block, &mutants);
    }

    fn visit_impl_item_fn_mut(&mut self, item: &mut syn::ImplItemFn) {
        let mutants = self.of_body(&item.block);
        visit_mut::visit_impl_item_fn_mut(self, item);
        early_returns(&mut item.block, &mutants);
    }
}

impl<'a> Weaver<'a> {
    /// The mutants that replace what a function does by a value.
    fn of_body(&mut self, body: &Block) -> Vec<&'a Mutant> {
        match body.stmts.first() {
            Some(first) => self.take(Genre::FnValue, first.span()),
            None => Vec::new(),
        }
    }
}

const EMPTY: &str = "::std::iter::empty()";
const ONCE: &str = "::std::iter::once(";

fn early_returns(body: &mut Block, mutants: &[&Mutant]) {
    for mutant in mutants.iter().rev() {
        let is = is(mutant.id);
        let replacement = &*mutant.replacement;
        let only = replacement
            .strip_prefix(ONCE)
            .and_then(|rest| rest.strip_suffix(')'));
        if replacement == EMPTY || only.is_some() {
            // An iterator of a type without a name keeps its type: none of its items, and then the other.
            if let Some(Stmt::Expr(items, None)) = body.stmts.last_mut() {
                *items = parse_quote!((#items).take(if #is { 0 } else { usize::MAX }));
                if let Some(item) = only.and_then(|item| syn::parse_str::<Expr>(item).ok()) {
                    *items = parse_quote!((#items).chain(if #is { Some(#item) } else { None }));
                }
            }
            continue;
        }
        let Ok(value) = syn::parse_str::<Expr>(replacement) else {
            continue;
        };
        let value = quote!(return #value;);
        body.stmts.insert(0, parse_quote!(if #is { #value }));
    }
}

struct Finder {
    place: LineColumn,
    found: Option<usize>,
}

impl<'ast> Visit<'ast> for Finder {
    fn visit_expr_if(&mut self, it: &'ast ExprIf) {
        let span = it.then_branch.span();
        let here =
            it.span().start() == self.place || (span.start()..=span.end()).contains(&self.place);
        if here
            && let Expr::Call(call) = &*it.cond
            && let Some(Expr::Lit(literal)) = call.args.first()
            && let syn::Lit::Int(id) = &literal.lit
        {
            self.found = id.base10_parse().ok();
        }
        syn::visit::visit_expr_if(self, it);
    }
}
