//! What the regions of a file are: branches by name, and those that only a broken variant takes.

use crate::record::Place;
use proc_macro2::{LineColumn, Span, TokenTree};
use quote::ToTokens;
use std::collections::BTreeMap;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Arm, BinOp, Block, Expr, ExprIf, ExprMatch, Ident, ImplItemFn, ItemFn, ItemImpl};
use syn::{Local, Macro, Pat, TraitItemFn, UnOp, Visibility};

/// A piece of code that is executed, or not, as a whole.
#[derive(Clone, Debug)]
pub struct Branch {
    pub from: Place,
    pub to: Place,
    /// The line that says best which one it is.
    pub line: usize,
    /// The function that it stands in, with its type.
    pub function: String,
    /// Whether it is no part of the protocol: only a variant that breaks it gets here, or nobody does, as
    /// `unreachable!` and `assert!` say themselves.
    pub is_outside: bool,
    /// Whether it is the missing `else` of an `if`. Its place is the brace that ends the `if`.
    pub is_missing_else: bool,
}

/// What was found in a file.
#[derive(Default)]
pub struct Source {
    pub branches: Vec<Branch>,
    place: Vec<String>,
    /// What the local variables of this function are without a variant, as far as that is known.
    known: BTreeMap<String, bool>,
}

impl Source {
    /// Reads a file of Rust.
    pub fn read(text: &str) -> Result<Self, syn::Error> {
        let mut source = Self::default();
        source.visit_file(&syn::parse_file(text)?);
        Ok(source)
    }

    fn branch(&mut self, span: Span, is_outside: bool) -> &mut Branch {
        let from = place(span.start());
        self.branches.push(Branch {
            from,
            to: place(span.end()),
            line: from.0,
            function: self.place.join("::"),
            is_outside,
            is_missing_else: false,
        });
        self.branches.last_mut().expect("it was pushed")
    }

    fn function(&mut self, vis: &Visibility, name: &Ident, fn_token: Span, body: &Block) {
        self.place.push(name.to_string());
        self.known.clear();
        let from = match vis {
            Visibility::Inherited => fn_token,
            vis => vis.span(),
        };
        self.branch(body.span(), false).from = place(from.start());
        self.visit_block(body);
        self.place.pop();
    }

    /// What an expression is with the faithful protocol, whatever the state is.
    fn decide(&self, expr: &Expr) -> Option<bool> {
        match expr {
            Expr::Paren(paren) => self.decide(&paren.expr),
            Expr::Lit(lit) => match &lit.lit {
                syn::Lit::Bool(value) => Some(value.value),
                _ => None,
            },
            Expr::Path(path) => self.known.get(&path.path.get_ident()?.to_string()).copied(),
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_)) => {
                self.decide(&unary.expr).map(|value| !value)
            }
            Expr::Binary(binary) => match binary.op {
                BinOp::Eq(_) => is_variant(&binary.right).then_some(false),
                BinOp::Ne(_) => is_variant(&binary.right).then_some(true),
                BinOp::And(_) => match (self.decide(&binary.left), self.decide(&binary.right)) {
                    (Some(false), _) | (_, Some(false)) => Some(false),
                    (Some(true), right) => right,
                    _ => None,
                },
                BinOp::Or(_) => match (self.decide(&binary.left), self.decide(&binary.right)) {
                    (Some(true), _) | (_, Some(true)) => Some(true),
                    (Some(false), right) => right,
                    _ => None,
                },
                _ => None,
            },
            Expr::Macro(call) if call.mac.path.is_ident("matches") => {
                let tokens = call.mac.tokens.to_string();
                let (value, patterns) = tokens.split_once(',')?;
                let all = patterns
                    .split('|')
                    .all(|one| one.trim().starts_with("Variant ::"));
                (value.ends_with("variant") && all).then_some(false)
            }
            // Faithful is what the last arm is for.
            Expr::Match(choice) if choice.arms.iter().any(|arm| names_variant(&arm.pat)) => {
                self.decide(&choice.arms.last()?.body)
            }
            _ => None,
        }
    }
}

impl<'ast> Visit<'ast> for Source {
    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let own = item.self_ty.to_token_stream().to_string();
        self.place
            .push(own.split_whitespace().next().unwrap_or_default().to_owned());
        visit::visit_item_impl(self, item);
        self.place.pop();
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.vis, &item.sig.ident, item.sig.span(), &item.block);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function(&item.vis, &item.sig.ident, item.sig.span(), &item.block);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast TraitItemFn) {
        if let Some(body) = &item.default {
            self.function(
                &Visibility::Inherited,
                &item.sig.ident,
                item.sig.span(),
                body,
            );
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let of_tests = |attr: &syn::Attribute| attr.to_token_stream().to_string().contains("test");
        if !item.attrs.iter().any(of_tests) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_local(&mut self, local: &'ast Local) {
        if let (Pat::Ident(name), Some(init)) = (&local.pat, &local.init)
            && let Some(value) = self.decide(&init.expr)
        {
            self.known.insert(name.ident.to_string(), value);
        }
        if let Some((_, diverge)) = local.init.as_ref().and_then(|init| init.diverge.as_ref()) {
            let never = says_unreachable(diverge);
            self.branch(diverge.span(), never).line = local.span().start().line;
        }
        visit::visit_local(self, local);
    }

    fn visit_expr_if(&mut self, expr: &'ast ExprIf) {
        let value = self.decide(&expr.cond);
        let (then, line) = (expr.then_branch.span(), expr.span().start().line);
        self.branch(then, value == Some(false)).line = line;
        match &expr.else_branch {
            Some((_, other)) => {
                self.branch(other.span(), value == Some(true)).line = first_line(other);
            }
            None => {
                let brace = expr.then_branch.brace_token.span.close();
                let other = self.branch(brace, value == Some(true));
                (other.line, other.is_missing_else) = (line, true);
            }
        }
        visit::visit_expr_if(self, expr);
    }

    fn visit_expr_match(&mut self, expr: &'ast ExprMatch) {
        // With guards the compiler looks at the variant a second time.
        if expr.arms.iter().any(|arm| names_variant(&arm.pat)) {
            self.branch(expr.expr.span(), true);
        }
        visit::visit_expr_match(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        let decided = |guard: &Expr| self.decide(guard) == Some(false);
        let never = arm.guard.as_ref().is_some_and(|(_, guard)| decided(guard));
        let is_outside = never || names_variant(&arm.pat) || says_unreachable(&arm.body);
        self.branch(arm.span(), is_outside);
        visit::visit_arm(self, arm);
    }

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        let (left, right) = (self.decide(&expr.left), self.decide(&expr.right));
        let moot = match expr.op {
            BinOp::And(_) => Some(false),
            BinOp::Or(_) => Some(true),
            _ => None,
        };
        if moot.is_some() {
            self.branch(expr.right.span(), left == moot || right.is_some());
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        // The words of an assertion are for when it fails.
        if call.path.is_ident("assert") {
            let is_comma =
                |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ',');
            let words = call
                .tokens
                .clone()
                .into_iter()
                .skip_while(|token| !is_comma(token));
            words.for_each(|token| _ = self.branch(token.span(), true));
        }
        visit::visit_macro(self, call);
    }

    fn visit_expr_closure(&mut self, closure: &'ast syn::ExprClosure) {
        self.branch(closure.body.span(), false);
        visit::visit_expr_closure(self, closure);
    }
}

/// Whether an expression is the name of a variant that breaks the protocol.
fn is_variant(expr: &Expr) -> bool {
    let Expr::Path(path) = expr else { return false };
    path.path
        .segments
        .first()
        .is_some_and(|first| first.ident == "Variant")
}

/// Whether a pattern asks for variants that break the protocol.
fn names_variant(pattern: &Pat) -> bool {
    let text = pattern.to_token_stream().to_string();
    text.contains("Variant ::") && !text.contains("Variant :: Faithful")
}

/// Whether an expression does nothing but say that nobody gets there.
fn says_unreachable(expr: &Expr) -> bool {
    let text = expr.to_token_stream().to_string();
    let text = text.trim_matches(|c: char| c.is_whitespace() || "{};".contains(c));
    text.starts_with("unreachable ! (")
}

/// The line in which the content of a block begins.
fn first_line(expr: &Expr) -> usize {
    let first = match expr {
        Expr::Block(block) => block.block.stmts.first().map(Spanned::span),
        _ => None,
    };
    first.unwrap_or_else(|| expr.span()).start().line
}

fn place(at: LineColumn) -> Place {
    (at.line, at.column + 1)
}
