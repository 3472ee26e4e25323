//! The one place where tasks start, so that tokio-console shows a name for each.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::task::AbortOnDropHandle;

/// A future that is larger, in bytes, is moved once, into a box: on its way to its task it is moved several times.
/// (tokio boxes those above 16 KiB.)
const LARGE: usize = 1024;

/// Spawns a task under `name`.
#[track_caller]
pub fn spawn<F>(name: &str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if size_of::<F>() > LARGE {
        return spawn_as_it_is(name, Box::pin(future));
    }
    spawn_as_it_is(name, future)
}

#[track_caller]
fn spawn_as_it_is<F>(name: &str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[cfg(tokio_unstable)]
    {
        tokio::task::Builder::new().name(name).spawn(future).expect("tokio refuses only blocking tasks")
    }
    #[cfg(not(tokio_unstable))]
    {
        let _unseen = name;
        #[expect(clippy::disallowed_methods, reason = "this is the place that the ban points to")]
        tokio::spawn(future)
    }
}

/// Spawns a task under `name` in another runtime. One that has ended drops it.
#[track_caller]
pub fn spawn_on<F>(name: &str, runtime: &Handle, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[cfg(tokio_unstable)]
    {
        tokio::task::Builder::new()
            .name(name)
            .spawn_on(future, runtime)
            .expect("tokio refuses only blocking tasks")
    }
    #[cfg(not(tokio_unstable))]
    {
        let _unseen = name;
        runtime.spawn(future)
    }
}

/// Runs `work` on a thread that may block, under `name`.
pub async fn run_blocking<R: Send + 'static>(name: &str, work: impl FnOnce() -> R + Send + 'static) -> R {
    #[cfg(tokio_unstable)]
    let handle = tokio::task::Builder::new()
        .name(name)
        .spawn_blocking(work)
        .expect("the runtime has threads that block");
    #[cfg(not(tokio_unstable))]
    let handle = {
        let _unseen = name;
        tokio::task::spawn_blocking(work)
    };
    resume(handle.await).await
}

/// Awaits `future`: as a task of its own name while tokio-console watches, in place otherwise, which is cheaper.
/// Dropping what this answers drops the future in both cases.
pub async fn watched<F>(name: &str, future: F) -> F::Output
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if !is_watched() {
        return future.await;
    }
    resume(AbortOnDropHandle::new(spawn(name, future)).await).await
}

/// The output of a task; its panic goes on here.
async fn resume<R>(joined: Result<R, JoinError>) -> R {
    match joined {
        Ok(output) => output,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only the runtime's own end aborts it while somebody still waits.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Runs `work` on this thread, shown in tokio-console as a blocking task with its true busy time.
///
/// console-subscriber takes a span for a task by its name, `runtime.spawn`, and reads these fields
/// (console-subscriber 0.5, `visitors.rs`); the time for which the span is entered is the busy time.
pub fn run_busy<R>(name: &str, work: impl FnOnce() -> R) -> R {
    let id = NEXT_BUSY.fetch_add(1, Ordering::Relaxed);
    let span = tracing::trace_span!(
        target: "tokio::task",
        parent: None,
        "runtime.spawn",
        kind = %"blocking",
        task.name = %name,
        task.id = id,
        loc.file = file!(),
        loc.line = line!(),
        loc.col = column!(),
    );
    span.in_scope(work)
}

/// Whether tokio-console is on in this process. A flag of our own: it is asked at every call, and `tracing::enabled!`
/// does not see through the filters of single layers.
pub fn is_watched() -> bool {
    WATCHED.load(Ordering::Relaxed)
}

/// Telemetry serves tokio-console from now on.
pub(crate) fn set_watched() {
    WATCHED.store(true, Ordering::Relaxed);
}

static WATCHED: AtomicBool = AtomicBool::new(false);

// Far above the ids of tokio's own tasks that are alive at the same time.
static NEXT_BUSY: AtomicU64 = AtomicU64::new(1 << 32);

#[cfg(test)]
mod tests {
    use super::{spawn, watched};
    use std::sync::Arc;

    #[tokio::test]
    async fn a_task_answers() {
        assert_eq!(spawn("bake", async { 7 }).await.unwrap(), 7);
        assert_eq!(watched("bake", async { 8 }).await, 8);
    }

    #[tokio::test]
    async fn dropping_the_wait_drops_the_work() {
        let held = Arc::new(());
        let inside = held.clone();
        let waiting = watched("bake", async move {
            let _inside = inside;
            std::future::pending::<()>().await;
        });
        assert_eq!(Arc::strong_count(&held), 2);
        drop(waiting);
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
