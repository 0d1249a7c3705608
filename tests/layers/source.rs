//! The modules of a crate, with their files and the meaning of their names, read from the source.

use std::collections::{BTreeMap, HashMap};

use syn::{Attribute, Item, ItemMod, Meta, UseTree, Visibility};

/// The files of a crate by their paths in `src`, with `/` as the separator.
pub(crate) type Sources = BTreeMap<String, String>;

/// A target of a crate: all its modules, except those of tests.
pub(crate) struct Source {
    pub(crate) modules: Vec<Module>,
}

/// A module. Inline modules share a file.
pub(crate) struct Module {
    pub(crate) file: String,
    /// The path from the root, which has an empty path.
    pub(crate) path: Vec<String>,
    pub(crate) parent: Option<usize>,
    /// A module and a function may share a name.
    pub(crate) names: HashMap<String, Vec<Name>>,
    pub(crate) globs: Vec<Vec<String>>,
    pub(crate) items: Vec<Item>,
}

/// The meaning of a name in a module.
#[derive(Clone, Debug)]
pub(crate) enum Name {
    Item(Kind),
    Module(usize),
    Import { path: Vec<String>, is_public: bool },
}

/// The kind of an item.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A trait, whose methods are called without its name.
    Trait,
    Other,
}

impl Source {
    /// Reads the target whose root is a file, such as `lib.rs` or `bin/redis/main.rs`.
    pub(crate) fn read(files: &Sources, root: &str) -> Self {
        let mut source = Self { modules: Vec::new() };
        let folder = root.rsplit_once('/').map_or("", |(folder, _)| folder);
        source.add_file(files, root, folder, &[], None);
        source
    }

    fn add_file(
        &mut self,
        files: &Sources,
        file: &str,
        folder: &str,
        path: &[String],
        parent: Option<usize>,
    ) -> usize {
        let text =
            files.get(file).unwrap_or_else(|| panic!("{file} is declared but does not exist"));
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        self.add(files, file, folder, path, parent, parsed.items)
    }

    /// Adds a module and its descendants. `folder` contains the files of its children.
    fn add(
        &mut self,
        files: &Sources,
        file: &str,
        folder: &str,
        path: &[String],
        parent: Option<usize>,
        items: Vec<Item>,
    ) -> usize {
        let mut items: Vec<_> = items.into_iter().flat_map(unwrapped).collect();
        items.retain(|item| !is_of_tests(attributes(item)));
        let id = self.modules.len();
        self.modules.push(Module {
            file: file.to_owned(),
            path: path.to_vec(),
            parent,
            names: HashMap::new(),
            globs: Vec::new(),
            items: Vec::new(),
        });
        for item in &mut items {
            match item {
                Item::Mod(child) => {
                    let below = self.add_child(files, file, folder, path, id, child);
                    self.name(id, &child.ident, Name::Module(below));
                }
                Item::Use(import) => {
                    let is_public = !matches!(import.vis, Visibility::Inherited);
                    for (name, path) in imports(&import.tree) {
                        match name {
                            Some(name) => self.name(id, name, Name::Import { path, is_public }),
                            None => self.modules[id].globs.push(path),
                        }
                    }
                }
                Item::Macro(definition) => {
                    if let Some(name) = &definition.ident {
                        self.name(id, name, Name::Item(Kind::Other));
                        // An exported macro is always at the root of the crate.
                        if definition.attrs.iter().any(|attr| attr.path().is_ident("macro_export"))
                            && id != 0
                        {
                            let path = path.iter().cloned().chain([name.to_string()]);
                            let path = ["crate".to_owned()].into_iter().chain(path).collect();
                            self.name(0, name, Name::Import { path, is_public: true });
                        }
                    }
                }
                item => {
                    if let Some((name, kind)) = defined(item) {
                        self.name(id, name, Name::Item(kind));
                    }
                }
            }
        }
        self.modules[id].items = items;
        id
    }

    fn add_child(
        &mut self,
        files: &Sources,
        file: &str,
        folder: &str,
        path: &[String],
        parent: usize,
        child: &mut ItemMod,
    ) -> usize {
        let name = child.ident.to_string();
        let path: Vec<_> = path.iter().cloned().chain([name.clone()]).collect();
        let folder = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        if let Some((_, items)) = child.content.take() {
            return self.add(files, file, &folder, &path, Some(parent), items);
        }
        let flat = format!("{folder}.rs");
        let file = if files.contains_key(&flat) { flat } else { format!("{folder}/mod.rs") };
        self.add_file(files, &file, &folder, &path, Some(parent))
    }

    fn name(&mut self, module: usize, name: impl ToString, meaning: Name) {
        self.modules[module].names.entry(name.to_string()).or_default().push(meaning);
    }
}

/// Returns the names and paths that a `use` imports; a glob has no name.
pub(crate) fn imports(tree: &UseTree) -> Vec<(Option<String>, Vec<String>)> {
    let mut found = Vec::new();
    collect(tree, &mut Vec::new(), &mut found);
    found
}

fn collect(
    tree: &UseTree,
    prefix: &mut Vec<String>,
    found: &mut Vec<(Option<String>, Vec<String>)>,
) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            collect(&path.tree, prefix, found);
            prefix.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                collect(tree, prefix, found);
            }
        }
        UseTree::Glob(_) => found.push((None, prefix.clone())),
        UseTree::Name(name) => add_import(name.ident.to_string(), None, prefix, found),
        UseTree::Rename(rename) => {
            add_import(rename.ident.to_string(), Some(rename.rename.to_string()), prefix, found);
        }
    }
}

fn add_import(
    last: String,
    rename: Option<String>,
    prefix: &[String],
    found: &mut Vec<(Option<String>, Vec<String>)>,
) {
    let mut path = prefix.to_vec();
    // `use a::b::{self}` is the same as `use a::b`.
    if last != "self" || path.is_empty() {
        path.push(last);
    }
    let name = rename.or_else(|| path.last().cloned());
    found.push((name, path));
}

/// Returns whether an item is compiled only for tests.
pub(crate) fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        matches!(&attribute.meta, Meta::List(list) if list.path.is_ident("cfg") && {
            let condition = list.tokens.to_string();
            condition == "test" || condition.starts_with("all (test ,")
        })
    })
}

pub(crate) fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Returns the items in the arguments of a macro such as `pin_project!`, or the item itself.
fn unwrapped(item: Item) -> Vec<Item> {
    match &item {
        Item::Macro(call) if call.ident.is_none() => {
            match syn::parse2::<syn::File>(call.mac.tokens.clone()) {
                Ok(given) if !given.items.is_empty() => given.items,
                _ => vec![item],
            }
        }
        _ => vec![item],
    }
}

fn defined(item: &Item) -> Option<(&syn::Ident, Kind)> {
    Some(match item {
        Item::Const(item) => (&item.ident, Kind::Other),
        Item::Enum(item) => (&item.ident, Kind::Other),
        Item::Fn(item) => (&item.sig.ident, Kind::Other),
        Item::Static(item) => (&item.ident, Kind::Other),
        Item::Struct(item) => (&item.ident, Kind::Other),
        Item::Trait(item) => (&item.ident, Kind::Trait),
        Item::TraitAlias(item) => (&item.ident, Kind::Trait),
        Item::Type(item) => (&item.ident, Kind::Other),
        Item::Union(item) => (&item.ident, Kind::Other),
        _ => return None,
    })
}
