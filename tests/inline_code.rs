//! Inline code of the guide names methods, variants and constants that exist.

use std::{collections::BTreeSet, fs, path::Path};

use proc_macro2::{TokenStream, TokenTree};
use syn::{ImplItem, Item, TraitItem, Type};

use crate::conventions::sources;

/// Types of other crates that the guide names with `::`.
const FOREIGN: &[&str] = &[
    "Cors",
    "CorsLayer",
    "Duration",
    "File",
    "HttpResponse",
    "HttpServer",
    "LayerExt",
    "Method",
    "MethodRouter",
    "Quota",
    "Router",
    "TestRequest",
];

/// The names that our sources define.
#[derive(Default)]
struct Names {
    /// Functions, constants, variants and fields, with the type or trait that has them.
    members: BTreeSet<(String, String)>,
    /// Functions in the bodies of macros, whose type is not known.
    in_macros: BTreeSet<String>,
}

impl Names {
    fn has(&self, owner: &str, name: &str) -> bool {
        let is_member = self.members.contains(&(owner.to_owned(), name.to_owned()));
        let is_known = || self.members.iter().any(|(known, _)| known == owner);
        is_member || (self.in_macros.contains(name) && is_known())
    }

    fn has_method(&self, name: &str) -> bool {
        self.in_macros.contains(name) || self.members.iter().any(|(_, known)| known == name)
    }

    fn collect(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Mod(module) => {
                    self.collect(module.content.as_ref().map_or(&[], |(_, items)| &items[..]));
                }
                Item::Enum(item) => {
                    for variant in &item.variants {
                        self.add(&item.ident, &variant.ident);
                    }
                    self.add_derived(&item.ident, &item.attrs);
                }
                Item::Struct(item) => {
                    for field in item.fields.iter().filter(|field| is_public(&field.vis)) {
                        field.ident.iter().for_each(|name| self.add(&item.ident, name));
                    }
                    self.add_derived(&item.ident, &item.attrs);
                }
                Item::Trait(item) => {
                    for member in &item.items {
                        match member {
                            TraitItem::Fn(function) => self.add(&item.ident, &function.sig.ident),
                            TraitItem::Const(constant) => self.add(&item.ident, &constant.ident),
                            _ => {}
                        }
                    }
                }
                Item::Impl(item) => {
                    let Type::Path(owner) = &*item.self_ty else { continue };
                    let Some(owner) = owner.path.segments.last() else { continue };
                    let is_trait = item.trait_.is_some();
                    for member in &item.items {
                        match member {
                            ImplItem::Fn(function) if is_trait || is_public(&function.vis) => {
                                self.add(&owner.ident, &function.sig.ident);
                            }
                            ImplItem::Const(constant) if is_trait || is_public(&constant.vis) => {
                                self.add(&owner.ident, &constant.ident);
                            }
                            ImplItem::Macro(call) => self.collect_tokens(call.mac.tokens.clone()),
                            _ => {}
                        }
                    }
                }
                Item::Macro(item) => self.collect_tokens(item.mac.tokens.clone()),
                _ => {}
            }
        }
    }

    fn add(&mut self, owner: &syn::Ident, name: &syn::Ident) {
        self.members.insert((owner.to_string(), name.to_string()));
    }

    fn add_derived(&mut self, owner: &syn::Ident, attributes: &[syn::Attribute]) {
        let derives = |attribute: &syn::Attribute| {
            let tokens = attribute.meta.require_list().map(|list| list.tokens.to_string());
            tokens.is_ok_and(|tokens| tokens.contains("Default"))
        };
        if attributes.iter().any(derives) {
            self.members.insert((owner.to_string(), "default".to_owned()));
        }
    }

    /// Collects the names after `fn`.
    fn collect_tokens(&mut self, tokens: TokenStream) {
        let mut after_fn = false;
        for token in tokens {
            match token {
                TokenTree::Group(group) => self.collect_tokens(group.stream()),
                TokenTree::Ident(name) if after_fn => {
                    self.in_macros.insert(name.to_string());
                    after_fn = false;
                }
                TokenTree::Ident(word) => after_fn = word == "fn",
                _ => after_fn = false,
            }
        }
    }
}

fn is_public(visibility: &syn::Visibility) -> bool {
    matches!(visibility, syn::Visibility::Public(_))
}

#[test]
fn inline_code_of_the_guide_names_what_exists() {
    let mut names = Names::default();
    for (_, source) in sources() {
        names.collect(&syn::parse_file(&source).unwrap().items);
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = docs.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let (mut checked, mut unknown) = (0, Vec::new());
    for page in pages.chain([root.join("README.md")]) {
        for code in inline_code(&fs::read_to_string(&page).unwrap()) {
            for claim in claims(&code) {
                checked += 1;
                let exists = match &claim {
                    (Some(owner), name) => names.has(owner, name),
                    (None, name) => names.has_method(name),
                };
                if !exists {
                    unknown.push(format!("{}: `{code}`", page.display()));
                }
            }
        }
    }
    assert!(checked > 150, "only {checked} names were found");
    assert!(unknown.is_empty(), "unknown names in inline code:\n{}", unknown.join("\n"));
}

/// Returns the code in backticks, outside of code blocks.
fn inline_code(page: &str) -> Vec<String> {
    let mut prose = String::new();
    let mut in_block = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            prose.push_str(line);
            // A span may go on in the next line.
            prose.push(' ');
        }
    }
    prose.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Returns the members that the code names: `Type::name`, with the type, and `.name(`, at the start or after a call.
fn claims(code: &str) -> Vec<(Option<String>, String)> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut claims = Vec::new();
    for (at, _) in code.match_indices("::") {
        let owner = code[..at].rsplit(|c| !is_part(c)).next().unwrap_or_default();
        let name = code[at + 2..].split(|c| !is_part(c)).next().unwrap_or_default();
        let is_type = owner.starts_with(char::is_uppercase) && !FOREIGN.contains(&owner);
        if is_type && !name.is_empty() {
            claims.push((Some(owner.to_owned()), name.to_owned()));
        }
    }
    if let Some(rest) = code.strip_prefix('.')
        && let Some((name, _)) = rest.split_once('(')
        && name.chars().all(is_part)
    {
        claims.push((None, name.to_owned()));
    }
    claims
}

#[test]
fn the_names_in_inline_code_are_found() {
    let some = |owner: &str, name: &str| (Some(owner.to_owned()), name.to_owned());
    let page = "a `Rule::every(…)`, `.rule(name)` and\n```rust\nRule::no(`x`)\n```\n`Duration::ZERO`, `x.y(1)`";
    let found: Vec<_> = inline_code(page).iter().flat_map(|code| claims(code)).collect();
    assert_eq!(found, [some("Rule", "every"), (None, "rule".to_owned())]);
}
