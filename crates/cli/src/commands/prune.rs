//! `callgate root prune`: removes from a store what no root holds.

use callgate_rootfs::{Prune, Share, StoreError, prune_store};
use serde_json::json;

use crate::args::RootPruneArgs;
use crate::failure::{CANNOT, Failure};
use crate::output;
use crate::terminal::GREEN;

pub(crate) fn prune(args: &RootPruneArgs) -> Result<u8, Failure> {
    let what = Prune {
        older_than: args.older_than,
        keep: args.keep,
        dry_run: args.dry_run,
    };
    let pruned = prune_store(&args.store, &what).map_err(|error| match error {
        StoreError::Io { .. } => Failure::new(CANNOT, error),
        error => Failure::input(error),
    })?;
    if args.json {
        output::json(&json!({
            "schema": "callgate.pruned/1",
            "dry_run": args.dry_run,
            "used": pruned.used,
            "removed": pruned.removed,
            "kept": pruned.kept,
        }))?;
        return Ok(0);
    }
    let done = if args.dry_run { "would remove" } else { "removed" };
    anstream::eprintln!(
        "{GREEN}{done}{GREEN:#} {} from {}; {} unused kept, {} held by roots",
        said(pruned.removed),
        args.store.display(),
        said(pruned.kept),
        said(pruned.used)
    );
    Ok(0)
}

fn said(share: Share) -> String {
    let files = if share.files == 1 { "file" } else { "files" };
    let mebibytes = share.bytes as f64 / f64::from(1 << 20);
    format!("{} {files} ({mebibytes:.1} MiB)", share.files)
}
