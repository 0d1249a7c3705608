//! Which file names what of which, and where that goes round in circles.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use crate::{
    names::paths_of,
    resolve::Target,
    source::{Kind, Name, Source},
};

/// What each node names of which other. Nodes are files, or modules with all that is below them.
pub(crate) type Graph = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Returns a description of each circle of a target.
pub(crate) fn all_circles(source: &Source) -> Vec<String> {
    let files = of_files(source);
    let mut texts = describe_circles("files", &files, |_| true);
    for siblings in of_siblings(source, &files) {
        // Those of single files are reported above.
        let has_folder = |circle: &[String]| circle.iter().any(|module| is_folder(source, module));
        texts.extend(describe_circles("modules", &siblings, has_folder));
    }
    texts
}

fn is_folder(source: &Source, module: &str) -> bool {
    let below = format!("{module}::");
    source.modules.iter().any(|other| other.path.join("::").starts_with(&below))
}

/// Returns what the files of a target name of one another.
///
/// A re-export alone is no dependency, neither is `mod`. An import counts where the module's own code
/// has the name, and that of a trait always, because its methods are called without it.
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

/// Returns paths of the crate itself that lead nowhere: what this reader does not understand.
pub(crate) fn lost(source: &Source) -> Vec<String> {
    let mut lost = Vec::new();
    for (id, module) in source.modules.iter().enumerate() {
        let imports = module.names.values().flatten().filter_map(|name| match name {
            Name::Import { path, .. } => Some(path.clone()),
            _ => None,
        });
        for path in imports.chain(paths_of(&module.items)) {
            let is_own = matches!(path[0].as_str(), "crate" | "super")
                || (path[0] == "self" && path.len() > 1);
            if is_own && source.resolve(id, &path).is_none() {
                lost.push(format!("{}: {}", module.file, path.join("::")));
            }
        }
    }
    lost
}

/// Returns, for each module that has children, what they name of one another, each with all below it.
pub(crate) fn of_siblings(source: &Source, files: &Graph) -> Vec<Graph> {
    let mut path_of = BTreeMap::new();
    for module in &source.modules {
        path_of.entry(module.file.as_str()).or_insert(module.path.as_slice());
    }
    let parents: BTreeSet<_> = source.modules.iter().map(|module| module.path.as_slice()).collect();
    let mut graphs = Vec::new();
    for parent in parents {
        // The child that a file belongs to; none for the parent's own file and those elsewhere.
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

/// Returns the groups of nodes that all lead to one another.
pub(crate) fn circles(graph: &Graph) -> Vec<Vec<String>> {
    let reach: BTreeMap<_, _> = graph.keys().map(|node| (node, reachable(graph, node))).collect();
    let mut circles = BTreeSet::new();
    for (node, reached) in &reach {
        let circle: Vec<_> = reached
            .iter()
            .filter(|other| reach.get(*other).is_some_and(|back| back.contains(*node)))
            .map(|other| (*other).clone())
            .collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

fn describe_circles(what: &str, graph: &Graph, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
    circles(graph)
        .iter()
        .filter(|circle| wanted(circle))
        .map(|circle| format!("{what}: {}", describe(graph, circle)))
        .collect()
}

/// Writes a circle out: what names what of which, those that name each other first.
fn describe(graph: &Graph, circle: &[String]) -> String {
    let ties: Vec<_> = edges(graph)
        .filter(|(from, to, _)| {
            circle.iter().any(|node| node == from) && circle.iter().any(|node| node == to)
        })
        .collect();
    let is_mutual = |from: &str, to: &str| ties.iter().any(|tie| (tie.0, tie.1) == (to, from));
    let mut text = format!("{} that lead to one another: {}\n", circle.len(), circle.join(", "));
    for mutual in [true, false] {
        for (from, to, names) in ties.iter().filter(|tie| is_mutual(tie.0, tie.1) == mutual) {
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
    graph.iter().flat_map(|(from, ties)| {
        ties.iter().map(move |(to, names)| (from.as_str(), to.as_str(), names))
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
