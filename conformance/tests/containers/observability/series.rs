//! The series themselves: those of the documentation, with its types, HELP
//! lines, labels and values, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::documented;
use super::{Named, Setting, promtool};
use crate::stage::Stage;

/// Labels that Prometheus adds to every series it scrapes.
const ADDED: [&str; 3] = ["__name__", "instance", "job"];

pub(super) fn cells() -> Vec<Named> {
    vec![
        (
            "every documented series appears in Prometheus with its type and help, and no other",
            types_and_help,
        ),
        (
            "every series has the documented labels and values from the start",
            labels,
        ),
        ("promtool finds nothing to complain about", check_metrics),
    ]
}

fn types_and_help(stage: &Stage) {
    let setting = Setting::new(stage);
    let documented = documented::series();
    let found = setting
        .prometheus
        .ask("metadata")
        .expect("Prometheus answers");
    let found = found.as_object().expect("an object by series");
    let names = |keys: Vec<&String>| keys.into_iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(
        names(found.keys().collect()),
        names(documented.keys().collect())
    );
    for series in documented.values() {
        let entries = &found[&series.name];
        assert_eq!(
            entries.as_array().map(Vec::len),
            Some(1),
            "{}: {entries}",
            series.name
        );
        assert_eq!(entries[0]["type"], series.kind, "type of {}", series.name);
        assert_eq!(entries[0]["help"], series.help, "help of {}", series.name);
    }
    // The same, as Prometheus tells it of this very target.
    let of_target = setting
        .prometheus
        .ask("targets/metadata")
        .expect("Prometheus answers");
    let of_target: BTreeMap<_, _> = of_target
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry["target"]["job"] == "qdt-server")
        .map(|entry| (entry["metric"].as_str().unwrap_or_default(), entry))
        .collect();
    for series in documented.values() {
        let entry = of_target.get(series.name.as_str());
        let entry = entry.unwrap_or_else(|| panic!("{} is not of the target", series.name));
        assert_eq!(
            (&entry["type"], &entry["help"]),
            (&series.kind.clone().into(), &series.help.clone().into())
        );
    }
}

fn labels(stage: &Stage) {
    let setting = Setting::new(stage);
    for series in documented::series().values() {
        let samples = setting
            .prometheus
            .query(&series.name)
            .expect("Prometheus answers");
        let found: BTreeSet<Vec<(String, String)>> = samples
            .into_iter()
            .map(|sample| {
                let own = sample.labels.into_iter();
                own.filter(|(label, _)| !ADDED.contains(&label.as_str()))
                    .collect()
            })
            .collect();
        let expected = match &series.label {
            None => BTreeSet::from([Vec::new()]),
            Some((label, values)) => values
                .iter()
                .map(|value| vec![(label.clone(), value.clone())])
                .collect(),
        };
        assert_eq!(found, expected, "labels of {}", series.name);
    }
}

fn check_metrics(stage: &Stage) {
    let setting = Setting::new(stage);
    let page = stage.folder().join("metrics.txt");
    fs::write(&page, setting.server.metrics().text()).expect("the cell's folder is writable");
    let (code, output) = promtool(
        stage,
        "promtool check metrics < /input",
        &[("/input", &page.to_string_lossy())],
    );
    // Not one line is excused: names and HELP lines that are inherited pass as well.
    assert_eq!((code, output.as_str()), (0, ""));
    // It does complain where there is reason to.
    let text = "# TYPE qdt_wrong counter\nqdt_wrong 1\n";
    fs::write(&page, text).expect("the cell's folder is writable");
    let (code, output) = promtool(
        stage,
        "promtool check metrics < /input",
        &[("/input", &page.to_string_lossy())],
    );
    assert!(
        code != 0 && output.contains("qdt_wrong"),
        "{code}: {output}"
    );
}
