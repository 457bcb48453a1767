//! Many files at once, in the order in which they were named, with a progress bar where a person
//! looks on.

use std::{
    future::Future,
    io::IsTerminal,
    path::{Path, PathBuf},
};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;

/// Files that are worked on at once: as many as there are prepare workers by default, and one that
/// is read meanwhile.
const AT_ONCE: usize = 3;

/// Works on every file and hands each result to `show`, in the order of the files.
pub(crate) async fn each<T, F>(
    files: &[PathBuf],
    mut work: impl FnMut(&Path) -> F,
    mut show: impl FnMut(&Path, T),
) where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let bar = bar(files.len() as u64, "files");
    let mut running = JoinSet::new();
    let mut results: Vec<Option<T>> = files.iter().map(|_| None).collect();
    let (mut begun, mut shown) = (0, 0);
    while shown < files.len() {
        while begun < files.len() && running.len() < AT_ONCE {
            let (index, result) = (begun, work(&files[begun]));
            running.spawn(async move { (index, result.await) });
            begun += 1;
        }
        if let Some(Ok((index, result))) = running.join_next().await {
            results[index] = Some(result);
            bar.inc(1);
        }
        while let Some(result) = results.get_mut(shown).and_then(Option::take) {
            bar.suspend(|| show(&files[shown], result));
            shown += 1;
        }
    }
    bar.finish_and_clear();
}

/// A bar for so many things; one that only counts where nobody knows how many there will be (0).
pub(crate) fn bar(total: u64, things: &str) -> ProgressBar {
    if total == 1 || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, style) = match total {
        0 => (ProgressBar::new_spinner(), format!("{{spinner}} {{pos}} {things}, {{elapsed}}")),
        total => (
            ProgressBar::new(total),
            format!("{{bar:30}} {{pos}}/{{len}} {things}, {{elapsed}}, {{eta}} to go"),
        ),
    };
    match ProgressStyle::with_template(&style) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
