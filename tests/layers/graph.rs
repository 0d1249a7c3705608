//! The graph of dependencies between files, and its cycles.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use crate::{
    names::paths_of,
    resolve::Target,
    source::{Kind, Name, Source},
};

/// The names that each node uses from other nodes. Nodes are files, or modules with their descendants.
pub(crate) type Graph = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Returns a description of each cycle of a target.
pub(crate) fn all_cycles(source: &Source) -> Vec<String> {
    let files = of_files(source);
    let mut texts = describe_cycles("files", &files, |_| true);
    for siblings in of_siblings(source, &files) {
        // Cycles of single files are reported above.
        let has_folder = |cycle: &[String]| cycle.iter().any(|module| is_folder(source, module));
        texts.extend(describe_cycles("modules", &siblings, has_folder));
    }
    texts
}

fn is_folder(source: &Source, module: &str) -> bool {
    let below = format!("{module}::");
    source.modules.iter().any(|other| other.path.join("::").starts_with(&below))
}

/// Returns the graph of the files of a target.
///
/// Re-exports and `mod` are not dependencies. An import is a dependency if the code of the module uses the name. The
/// import of a trait always is, because its methods are called without its name.
pub(crate) fn of_files(source: &Source) -> Graph {
    let mut graph = Graph::new();
    for (id, module) in source.modules.iter().enumerate() {
        let named =
            paths_of(&module.items).into_iter().filter_map(|path| source.resolve(id, &path));
        let traits = module.names.values().flatten().filter_map(|name| match name {
            Name::Import { path, is_public: false } => source
                .resolve(id, path)
                .filter(|target| matches!(target, Target::Item { kind: Kind::Trait, .. })),
            _ => None,
        });
        for target in named.chain(traits) {
            let Target::Item { module: to, name, .. } = target else { continue };
            add(&mut graph, &module.file, &source.modules[to].file, name);
        }
    }
    graph
}

/// Returns the paths within the crate that cannot be resolved.
pub(crate) fn unresolved(source: &Source) -> Vec<String> {
    let mut unresolved = Vec::new();
    for (id, module) in source.modules.iter().enumerate() {
        let imports = module.names.values().flatten().filter_map(|name| match name {
            Name::Import { path, .. } => Some(path.clone()),
            _ => None,
        });
        for path in imports.chain(paths_of(&module.items)) {
            let is_own = matches!(path[0].as_str(), "crate" | "super")
                || (path[0] == "self" && path.len() > 1);
            if is_own && source.resolve(id, &path).is_none() {
                unresolved.push(format!("{}: {}", module.file, path.join("::")));
            }
        }
    }
    unresolved
}

/// Returns the graph of the children of each module, each child with its descendants.
pub(crate) fn of_siblings(source: &Source, files: &Graph) -> Vec<Graph> {
    let mut path_of = BTreeMap::new();
    for module in &source.modules {
        path_of.entry(module.file.as_str()).or_insert(module.path.as_slice());
    }
    let parents: BTreeSet<_> = source.modules.iter().map(|module| module.path.as_slice()).collect();
    let mut graphs = Vec::new();
    for parent in parents {
        // The child that a file belongs to; `None` for the file of the parent and for files elsewhere.
        let child = |file: &str| {
            let below = path_of[file].strip_prefix(parent)?;
            Some([parent, &below[..below.len().min(1)]].concat().join("::"))
                .filter(|_| !below.is_empty())
        };
        let mut graph = Graph::new();
        for (from, to, names) in edges(files) {
            if let (Some(from), Some(to)) = (child(from), child(to)) {
                names.iter().for_each(|name| add(&mut graph, &from, &to, name.clone()));
            }
        }
        graphs.push(graph);
    }
    graphs
}

/// Returns the cycles: groups of nodes that can all reach each other.
pub(crate) fn cycles(graph: &Graph) -> Vec<Vec<String>> {
    let reach: BTreeMap<_, _> = graph.keys().map(|node| (node, reachable(graph, node))).collect();
    let mut cycles = BTreeSet::new();
    for (node, reached) in &reach {
        let cycle: Vec<_> = reached
            .iter()
            .filter(|other| reach.get(*other).is_some_and(|back| back.contains(*node)))
            .map(|other| (*other).clone())
            .collect();
        if cycle.len() > 1 {
            cycles.insert(cycle);
        }
    }
    cycles.into_iter().collect()
}

fn describe_cycles(what: &str, graph: &Graph, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
    cycles(graph)
        .iter()
        .filter(|cycle| wanted(cycle))
        .map(|cycle| format!("{what}: {}", describe(graph, cycle)))
        .collect()
}

/// Describes a cycle by its edges and the names that cause them; mutual edges come first.
fn describe(graph: &Graph, cycle: &[String]) -> String {
    let in_cycle: Vec<_> = edges(graph)
        .filter(|(from, to, _)| {
            cycle.iter().any(|node| node == from) && cycle.iter().any(|node| node == to)
        })
        .collect();
    let is_mutual =
        |from: &str, to: &str| in_cycle.iter().any(|edge| (edge.0, edge.1) == (to, from));
    let mut text = format!("cycle of {}: {}\n", cycle.len(), cycle.join(", "));
    for mutual in [true, false] {
        for (from, to, names) in in_cycle.iter().filter(|edge| is_mutual(edge.0, edge.1) == mutual)
        {
            let arrow = if mutual { "<->" } else { " ->" };
            let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "    {from} {arrow} {to}: {names}");
        }
    }
    text
}

fn add(graph: &mut Graph, from: &str, to: &str, name: String) {
    if from != to {
        graph.entry(from.to_owned()).or_default().entry(to.to_owned()).or_default().insert(name);
    }
}

fn edges(graph: &Graph) -> impl Iterator<Item = (&str, &str, &BTreeSet<String>)> {
    graph.iter().flat_map(|(from, targets)| {
        targets.iter().map(move |(to, names)| (from.as_str(), to.as_str(), names))
    })
}

fn reachable<'a>(graph: &'a Graph, start: &'a String) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(node) = open.pop() {
        for next in graph.get(node).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(next) {
                open.push(next);
            }
        }
    }
    reached
}
