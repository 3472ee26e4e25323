//! What one fsync costs where tickets are kept.

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use turno_runtime::task;

use crate::bench::figure::median;

const PAGE: usize = 4096;
const TIMES: usize = 200;

/// The median of writing 4 KiB and flushing them to the disk that `folder` is on, in microseconds.
pub(crate) async fn fsync_us(folder: &Path) -> Result<f64> {
    let file =
        tempfile::tempfile_in(folder).with_context(|| format!("cannot write in {}", folder.display()))?;
    task::run_blocking("bench.fsync", move || written(file)).await
}

fn written(mut file: File) -> Result<f64> {
    let page = [7; PAGE];
    let mut times = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let began = Instant::now();
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&page)?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(times))
}
