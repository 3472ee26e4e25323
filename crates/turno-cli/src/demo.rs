//! `turno demo`: a mesh in processes of its own, real pictures over HTTP, the story in figures, a contact sheet.

mod draw;
mod sheet;
mod shop;
mod story;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use serde::Serialize;

use crate::children::{Role, free_ports};
use crate::listing::print;
use crate::up::Mesh;
use shop::{Picture, Shop};
use story::{Story, Times};

/// `turno demo`
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Pictures of your own in place of drawn ones: the first 500 of DIR that are JPEG, PNG, WebP or GIF
    #[arg(long, value_name = "DIR")]
    pictures: Option<PathBuf>,
    /// How many pictures to draw, at most 500
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=500))]
    count: u64,
    /// How long the demo's own HTTP server makes each request wait, as a server far away would
    #[arg(long, default_value = "250ms", value_name = "DURATION")]
    latency: turno_runtime::units::Span,
    /// The directory of the contact sheet, its index.html
    #[arg(long, default_value = "turno-demo", value_name = "DIR")]
    out: PathBuf,
    /// One JSON object in place of the story
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    pictures: usize,
    waiting: Times,
    working: Times,
    slots: u32,
    workers: u32,
    sheet: &'a Path,
}

const WORKERS: u32 = 2;
const MOST_PICTURES: usize = 500;

/// Runs the demo from beginning to end.
pub(crate) async fn run(args: DemoArgs) -> Result<ExitCode> {
    let pictures = match &args.pictures {
        Some(folder) => read(folder)?,
        None => draw(args.count, args.json).await?,
    };
    let shop = Shop::open(pictures, args.latency.into()).await?;
    let (clients, nodes) = free_ports()?;
    let slots_each = slots_each();
    let dial = SocketAddr::from((Ipv4Addr::LOCALHOST, nodes));
    let mesh = Mesh::start_secluded(roles(clients, nodes, slots_each)?, dial).await?;
    let told = tell(&args, &shop, clients, slots_each * WORKERS).await;
    mesh.stop().await;
    told?;
    Ok(ExitCode::SUCCESS)
}

async fn tell(args: &DemoArgs, shop: &Shop, clients: u16, slots: u32) -> Result<()> {
    Mesh::ready(SocketAddr::from((Ipv4Addr::LOCALHOST, clients)), WORKERS as usize + 1).await?;
    let story = story::run(clients, shop, |what, count| bar(what, count, args.json)).await?;
    let sheet = write(&args.out, args, &story, slots)?;
    if args.json {
        let (waiting, working) = (story.waiting, story.working);
        let report =
            Report { pictures: shop.len(), waiting, working, slots, workers: WORKERS, sheet: &sheet };
        return print(serde_json::to_string(&report)?);
    }
    print(summary(args, &story, slots))?;
    print(format!("The contact sheet: {}", sheet.display()))
}

fn slots_each() -> u32 {
    let cores =
        std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    cores.div_ceil(WORKERS)
}

fn roles(clients: u16, nodes: u16, slots: u32) -> Result<Vec<Role>> {
    let (listen, dial) = (format!("127.0.0.1:{clients}"), format!("127.0.0.1:{nodes}"));
    let mut roles = vec![
        Role::quiet_gateway(&listen, &dial)?,
        Role::new("io", &["io", "--gateway", &dial, "--allow-private", "--log", "warn"]),
    ];
    for number in 1..=WORKERS {
        let slots = slots.to_string();
        roles.push(Role::new(
            format!("worker {number}"),
            &["worker", "--gateway", &dial, "--slots", &slots, "--log", "warn"],
        ));
    }
    Ok(roles)
}

/// Every picture in a folder, by name.
fn read(folder: &Path) -> Result<Vec<Picture>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut paths: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_picture(path)).collect();
    paths.sort();
    paths.truncate(MOST_PICTURES);
    if paths.is_empty() {
        bail!("{} holds no picture (.jpg, .jpeg, .png, .webp, .gif)", folder.display());
    }
    let picture = |path: PathBuf| {
        let bytes = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Picture { name, bytes: bytes.into() })
    };
    paths.into_iter().map(picture).collect()
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase());
    ending.is_some_and(|ending| ["jpg", "jpeg", "png", "webp", "gif"].contains(&ending.as_str()))
}

async fn draw(count: u64, quiet: bool) -> Result<Vec<Picture>> {
    let bar = bar("drawing pictures", count, quiet);
    let drawn = turno_runtime::task::run_blocking("demo.draw", move || {
        let picture = |seed| {
            let bytes = draw::picture(seed, 3200, 2135)?.into();
            bar.inc(1);
            Ok(Picture { name: format!("landscape-{:02}.jpg", seed + 1), bytes })
        };
        let drawn: Result<Vec<Picture>> = (0..count).into_par_iter().map(picture).collect();
        bar.finish();
        drawn
    });
    drawn.await
}

fn bar(what: &str, count: u64, quiet: bool) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:34} [{bar:30}] {pos}/{len} {elapsed}");
    let style = style.expect("the template is a constant that indicatif takes").progress_chars("=> ");
    ProgressBar::new(count).with_style(style).with_message(what.to_owned())
}

fn summary(args: &DemoArgs, story: &Story, slots: u32) -> String {
    let (waiting, working) = (story.waiting, story.working);
    let count = story.thumbnails.len();
    format!(
        "
{count} pictures of {:.1} megapixels on average, fetched over HTTP by the I/O node and thumbnailed on {WORKERS} workers.

  waiting   one after the other {:7.2} s   together     {:6.2} s   {:5.1} times faster
            (async fn: Http/Fetch; the server makes each request wait {})
  working   on one slot         {:7.2} s   on all {slots:>2}    {:6.2} s   {:5.1} times faster
            (fn: Images/Thumbnail; {slots} slots)
",
        story.megapixels, waiting.alone_s, waiting.together_s, waiting.ratio, args.latency, working.alone_s,
        working.together_s, working.ratio,
    )
}

fn write(folder: &Path, args: &DemoArgs, story: &Story, slots: u32) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let path = folder.join("index.html");
    let page = sheet::html(&story::sheet(story, args.latency, slots, WORKERS));
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    path.canonicalize().context("the sheet has just been written")
}

/// How long one round of a story takes at the most.
pub(crate) const ROUND_PATIENCE: Duration = Duration::from_secs(300);
