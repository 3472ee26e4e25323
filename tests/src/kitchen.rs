//! The kitchen: a service with a method of every kind.

mod cook;

use std::time::Duration;

use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use rayon::iter::{IntoParallelIterator as _, ParallelIterator as _};
use tokio::sync::Notify;
use tonic::metadata::MetadataMap;
use turno::{Context, Status, Streaming};

use cook::{cpu_of_this_thread, hold_the_slot};

mod generated {
    #![allow(missing_docs, reason = "the .proto documents it")]
    turno::include_proto!("kitchen.v1");
}
pub use cook::Cook;
pub use generated::{Courses, Dish, Inspection, Number, Wait, kitchen};

/// The service.
#[derive(Debug, Default)]
pub struct Kitchen {
    cook: Cook,
    bell: Notify,
    slow: bool,
}

impl Kitchen {
    /// One where Prove does not end by itself.
    pub fn slow() -> Self {
        Self { slow: true, ..Self::default() }
    }

    /// A kitchen that a test looks into.
    pub fn of(cook: &Cook) -> Self {
        Self { cook: cook.clone(), ..Self::default() }
    }

    async fn wait(&self, wait: Wait) -> turno::Result<Dish> {
        let begun = self.cook.begin();
        self.cook.wait_for(&wait.content);
        tokio::time::sleep(self.cook.as_slow(wait.ms)).await;
        begun.done();
        Ok(Dish { content: wait.content })
    }
}

/// A dish that nobody should eat.
fn checked(dish: Dish) -> turno::Result<Dish> {
    if dish.content != "spoilt" {
        return Ok(dish);
    }
    let mut metadata = MetadataMap::new();
    metadata.insert("waiter", "Rosa".parse().expect("a value"));
    Err(Status::with_metadata(turno::Code::DataLoss, "a dish is spoilt", metadata))
}

/// `count` dishes with their numbers.
fn numbered(count: u64) -> impl Stream<Item = Dish> {
    stream::iter((0..count).map(|number| Dish { content: format!("{number};").into() }))
}

#[turno::service(kitchen)]
impl Kitchen {
    async fn echo(&self, dish: Dish) -> turno::Result<Dish> {
        Ok(dish)
    }

    async fn simmer(&self, wait: Wait) -> turno::Result<Dish> {
        self.wait(wait).await
    }

    async fn reheat(&self, wait: Wait) -> turno::Result<Dish> {
        self.wait(wait).await
    }

    async fn ladle(&self, Number { value, ms }: Number) -> turno::Result<Dish> {
        self.wait(Wait { ms, content: vec![7; value as usize].into() }).await
    }

    #[expect(clippy::disallowed_methods, reason = "the mistake that the watchdog is there for")]
    async fn fry(&self, wait: Wait) -> turno::Result<Dish> {
        std::thread::sleep(Duration::from_millis(wait.ms));
        Ok(Dish { content: std::thread::current().name().unwrap_or_default().to_owned().into() })
    }

    fn bake(&self, wait: Wait) -> turno::Result<Dish> {
        hold_the_slot(wait.ms);
        Ok(Dish { content: wait.content })
    }

    fn square(&self, number: Number) -> turno::Result<Number> {
        hold_the_slot(number.ms);
        Ok(Number { value: number.value * number.value, ms: 0 })
    }

    fn knead(&self, wait: Wait, ctx: Context) -> turno::Result<Dish> {
        let begun = self.cook.begin();
        for _ in 0..self.cook.as_slow(wait.ms).as_millis() {
            hold_the_slot(1);
            ctx.checkpoint()?;
        }
        begun.done();
        Ok(Dish { content: wait.content })
    }

    fn burn(&self, dish: Dish) -> turno::Result<Dish> {
        panic!("smoke from {} bytes", dish.content.len())
    }

    async fn spill(&self, dish: Dish) -> turno::Result<Dish> {
        panic!("spilt {} bytes", dish.content.len())
    }

    async fn refuse(&self, ctx: Context, dish: Dish) -> turno::Result<Dish> {
        ctx.add_trailer("oven".parse().expect("a key"), "cold".parse().expect("a value"));
        let mut metadata = MetadataMap::new();
        metadata.insert("waiter", "Rosa".parse().expect("a value"));
        Err(Status::with_details_and_metadata(
            turno::Code::FailedPrecondition,
            "the oven is cold",
            dish.content,
            metadata,
        ))
    }

    async fn order(&self, ctx: Context, number: Number) -> turno::Result<Number> {
        ctx.call::<kitchen::Square>(number).await
    }

    async fn inspect(&self, ctx: Context, _: Dish) -> turno::Result<Inspection> {
        let text = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
        let metadata = ctx.metadata().iter().filter_map(|line| match line {
            tonic::metadata::KeyAndValueRef::Ascii(key, value) => {
                Some(text((key.as_str(), value.to_str().ok()?)))
            }
            tonic::metadata::KeyAndValueRef::Binary(..) => None,
        });
        ctx.add_trailer("inspector".parse().expect("a key"), "Rosa".parse().expect("a value"));
        Ok(Inspection {
            method: ctx.method().to_owned(),
            calling_method: ctx.calling_method().unwrap_or_default().to_owned(),
            peer: ctx.peer().to_owned(),
            time_left_ms: ctx.time_left().map_or(0, |left| left.as_millis() as u64),
            metadata: metadata.collect(),
            process: std::process::id().into(),
        })
    }

    async fn inspect_nested(&self, ctx: Context, dish: Dish) -> turno::Result<Inspection> {
        let answer = ctx.call_with_metadata::<kitchen::Inspect>(dish).await?;
        if let Some(inspector) = answer.metadata().get("inspector") {
            ctx.add_trailer("inspector".parse().expect("a key"), inspector.clone());
        }
        Ok(answer.into_inner())
    }

    async fn serve(
        &self,
        ctx: Context,
        courses: Courses,
    ) -> turno::Result<impl Stream<Item = turno::Result<Dish>>> {
        let dish = Dish { content: vec![7; courses.bytes as usize].into() };
        let begun = self.cook.begin();
        ctx.add_trailer("courses".parse().expect("a key"), courses.count.into());
        Ok(stream::unfold((0, Some(begun)), move |(served, mut begun)| {
            let dish = dish.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(courses.pause_ms)).await;
                if served < courses.count {
                    return Some((Ok(dish), (served + 1, begun)));
                }
                if courses.bytes == 666 {
                    std::process::abort();
                }
                let failing = begun.is_some() && courses.fail_at_end;
                begun.take()?.done();
                failing.then(|| (Err(Status::data_loss("the last plate fell")), (served, None)))
            }
        }))
    }

    async fn collect(&self, mut dishes: Streaming<Dish>, ctx: Context) -> turno::Result<Dish> {
        let begun = self.cook.begin();
        ctx.add_trailer("kitchen".parse().expect("a key"), "open".parse().expect("a value"));
        let mut all = bytes::BytesMut::new();
        while let Some(dish) = dishes.message().await? {
            all.extend_from_slice(&checked(dish)?.content);
        }
        begun.done();
        Ok(Dish { content: all.freeze() })
    }

    async fn taste(&self, mut dishes: Streaming<Dish>) -> turno::Result<Dish> {
        dishes.message().await?.ok_or_else(|| Status::invalid_argument("nothing to taste"))
    }

    async fn hold(&self, mut dishes: Streaming<Dish>) -> turno::Result<Number> {
        let mut count = u64::from(dishes.message().await?.is_some());
        self.bell.notified().await;
        while dishes.message().await?.is_some() {
            count += 1;
        }
        Ok(Number { value: count, ms: 0 })
    }

    async fn ring(&self, dish: Dish) -> turno::Result<Dish> {
        self.bell.notify_one();
        Ok(dish)
    }

    async fn banter(
        &self,
        ctx: Context,
        dishes: Streaming<Dish>,
    ) -> turno::Result<impl Stream<Item = turno::Result<Dish>>> {
        if ctx.metadata().contains_key("x-closed") {
            return Err(Status::failed_precondition("the kitchen is closed"));
        }
        let begun = self.cook.begin();
        Ok(stream::unfold((dishes, Some(begun)), async |(mut dishes, mut begun)| {
            match dishes.message().await.and_then(|dish| dish.map(checked).transpose()) {
                Ok(Some(dish)) => Some((Ok(dish), (dishes, begun))),
                Ok(None) => {
                    begun.take()?.done();
                    None
                }
                Err(error) => begun.take().map(|_| (Err(error), (dishes, None))),
            }
        }))
    }

    async fn collect_nested(&self, ctx: Context, count: Number) -> turno::Result<Dish> {
        let answer = ctx.client_stream_with_metadata::<kitchen::Collect>(numbered(count.value)).await?;
        if let Some(kitchen) = answer.metadata().get("kitchen") {
            ctx.add_trailer("kitchen".parse().expect("a key"), kitchen.clone());
        }
        Ok(answer.into_inner())
    }

    async fn banter_nested(&self, ctx: Context, count: Number) -> turno::Result<Number> {
        let answers = ctx.bidi_stream::<kitchen::Banter>(numbered(count.value)).await?;
        Ok(Number {
            value: answers.filter(|dish| std::future::ready(dish.is_ok())).count().await as u64,
            ms: 0,
        })
    }

    async fn given_up(&self, _: Dish) -> turno::Result<Number> {
        Ok(Number { value: self.cook.given_up(), ms: 0 })
    }

    async fn timed(&self, wait: Wait) -> turno::Result<Dish> {
        self.wait(wait).await
    }

    fn narrow(&self, wait: Wait) -> turno::Result<Dish> {
        hold_the_slot(wait.ms);
        Ok(Dish { content: wait.content })
    }

    fn roll(&self, wait: Wait, ctx: Context) -> turno::Result<Dish> {
        for step in 1..=wait.ms {
            hold_the_slot(1);
            ctx.progress(step, wait.ms, "rolling");
            ctx.checkpoint()?;
        }
        Ok(Dish { content: wait.content })
    }

    async fn stir(&self, wait: Wait, ctx: Context) -> turno::Result<Dish> {
        for step in 1..=wait.ms {
            tokio::time::sleep(Duration::from_millis(1)).await;
            ctx.progress(step, wait.ms, "stirring");
        }
        Ok(Dish { content: wait.content })
    }

    async fn fuss(&self, number: Number, ctx: Context) -> turno::Result<Number> {
        let said = |key| ctx.metadata().get(key).and_then(|value| value.to_str().ok());
        let run = said("turno-attempt").and_then(|attempt| attempt.parse().ok()).unwrap_or_default();
        if run <= number.ms {
            let code = i32::try_from(number.value).unwrap_or_default();
            return Err(Status::new(turno::Code::from_i32(code), format!("attempt {run} will not do")));
        }
        Ok(Number { value: run, ms: 0 })
    }

    async fn hedged(&self, wait: Wait) -> turno::Result<Dish> {
        self.wait(wait).await
    }

    fn risk(&self, number: Number) -> turno::Result<Number> {
        hold_the_slot(number.ms);
        match number.value {
            13 => Err(Status::with_details(turno::Code::OutOfRange, "bad luck", "details".into())),
            17 => panic!("worse luck"),
            666 => std::process::abort(),
            value => Ok(Number { value, ms: 0 }),
        }
    }

    fn prove(&self, number: Number, ctx: Context) -> turno::Result<Number> {
        if !self.slow {
            return Ok(number);
        }
        loop {
            hold_the_slot(1);
            ctx.checkpoint()?;
        }
    }

    async fn sum_squares(&self, ctx: Context, number: Number) -> turno::Result<Number> {
        let numbers = stream::iter((0..number.value).map(|value| Number { value, ms: 0 }));
        let squares = ctx.map::<kitchen::Square>(numbers).await?;
        let value = squares.try_fold(0, async |sum, (_, square)| Ok(sum + square?.value)).await?;
        Ok(Number { value, ms: 0 })
    }

    fn hedged_job(&self, wait: Wait, ctx: Context) -> turno::Result<Dish> {
        self.knead(wait, ctx)
    }

    fn gulp(&self, dish: Dish) -> turno::Result<Dish> {
        if dish.content == "poison" {
            std::process::abort();
        }
        Ok(dish)
    }

    fn rest(&self, ctx: Context, dish: Dish) -> turno::Result<Dish> {
        let dish = checked(dish)?;
        self.cook.rest(|| ctx.checkpoint())?;
        Ok(dish)
    }

    fn crunch(&self, wait: Wait) -> turno::Result<Number> {
        let (begun, wanted) = (cpu_of_this_thread(), Duration::from_millis(wait.ms));
        let mut spent = Duration::ZERO;
        while spent < wanted {
            std::hint::black_box((0..1000_u64).fold(1, |all, number| all ^ std::hint::black_box(number)));
            spent = cpu_of_this_thread() - begun;
        }
        Ok(Number { value: spent.as_micros() as u64, ms: 0 })
    }

    fn laminate(&self, ctx: Context, wait: Wait) -> turno::Result<Dish> {
        let begun = self.cook.begin();
        (0..wait.ms).into_par_iter().try_for_each(|_| {
            ctx.checkpoint()?;
            hold_the_slot(1);
            Ok::<_, Status>(())
        })?;
        begun.done();
        Ok(Dish { content: wait.content })
    }

    async fn laminate_nested(&self, ctx: Context, wait: Wait) -> turno::Result<Dish> {
        ctx.call::<kitchen::Laminate>(wait).await
    }
}
