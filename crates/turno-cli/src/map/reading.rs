//! The results of a map that is a ticket, written as they come: on from those that are there, over gateways that go and
//! come.

use std::io::Write as _;
use std::process::ExitCode;

use prost_reflect::DescriptorPool;
use tonic::transport::Channel;
use tonic::{Code, Status};
use turno_proto::google::longrunning::GetOperationRequest;
use turno_proto::google::longrunning::operation::Result as Ended;
use turno_proto::google::longrunning::operations_client::OperationsClient;
use turno_proto::google::rpc;
use turno_proto::v1::tickets_client::TicketsClient;
use turno_proto::v1::{MapResponse, ReadMapRequest};

use super::progress::Progress;
use super::results::Results;
use crate::aside::Aside;
use crate::call::{answer, failure};
use crate::tickets::name;
use crate::tickets::patience::{PAUSE, Patience, is_away};

/// How far it was read. Results are stored in an order that stays: so many lines are the first so many of them.
pub(super) struct Reading {
    tickets: TicketsClient<Channel>,
    operations: OperationsClient<Channel>,
    name: String,
    results: Results,
    /// Those that are written.
    from: u64,
    /// Those that are wanted.
    most: u64,
    patience: Patience,
    progress: Progress,
}

impl Reading {
    pub(super) fn new(
        channel: Channel,
        name: &str,
        results: Results,
        most: Option<u64>,
        progress: Progress,
    ) -> Self {
        let operations = OperationsClient::new(channel.clone());
        let tickets = TicketsClient::new(channel).max_decoding_message_size(usize::MAX);
        let (from, most) = (results.count(), most.unwrap_or(u64::MAX));
        let (name, patience) = (name.to_owned(), Patience::new());
        Self { tickets, operations, name, results, from, most, patience, progress }
    }

    /// Until what is wanted is there, or the map has ended; fails if an item did, or the map.
    pub(super) async fn run(&mut self, types: &DescriptorPool) -> anyhow::Result<ExitCode> {
        // There may be nothing to come, and half a line that has to go.
        self.results.flush()?;
        loop {
            let status = match self.listen().await? {
                Ok(()) => {
                    let failed = self.results.failed();
                    self.progress.finish(failed);
                    return Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE });
                }
                Err(status) => status,
            };
            let has_ended = self.has_ended_with(&status).await;
            if has_ended || !is_away(&status) {
                self.progress.finish(self.results.failed());
                failure::report(&status, types, false, &mut Aside)?;
                if has_ended {
                    let short = name::short(&self.name);
                    writeln!(Aside, "  the map has ended so; turno tickets show {short} tells more")?;
                }
                return Ok(ExitCode::FAILURE);
            }
            self.patience.check(&status, &self.results.reads_on())?;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The last word of one that was interrupted.
    pub(super) fn interrupted(self) -> String {
        let (from, reads_on) = (self.from, self.results.reads_on());
        format!("interrupted after {from} answers: the ticket is untouched, and {reads_on}")
    }

    /// Whether that is the map's own end, whatever its code, and not a gateway that can give nothing now: either may have
    /// details, so that the ticket is asked. Where that too fails, nothing is claimed.
    async fn has_ended_with(&mut self, status: &Status) -> bool {
        // What a map has ended with always has some.
        if status.details().is_empty() {
            return false;
        }
        let question = GetOperationRequest { name: self.name.clone() };
        let asked = answer(self.operations.get_operation(question)).await;
        let result = asked.ok().and_then(|operation| operation.into_inner().result);
        let is_it = |error: &rpc::Status| {
            Code::from_i32(error.code) == status.code() && error.message == status.message()
        };
        matches!(result, Some(Ended::Error(error)) if is_it(&error))
    }

    /// Writes what one gateway has, until it is gone.
    async fn listen(&mut self) -> anyhow::Result<Result<(), Status>> {
        let request = ReadMapRequest { name: self.name.clone(), from: self.from };
        let mut answers = match self.tickets.read_map(request).await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return Ok(Err(status)),
        };
        while self.from < self.most {
            let message = match self.patience.next(answers.message()).await {
                Ok(message) => message,
                Err(status) => return Ok(Err(status)),
            };
            if self.write(message)? {
                break;
            }
        }
        Ok(Ok(()))
    }

    /// Whether it was the map's last message.
    fn write(&mut self, message: MapResponse) -> anyhow::Result<bool> {
        self.results.tell_ticket(&self.name)?;
        let count = message.results.len();
        for result in message.results {
            self.results.write(result)?;
            self.from += 1;
        }
        // Whoever reads along sees each as it comes.
        self.results.flush()?;
        self.progress.done(count, self.results.failed());
        Ok(message.summary.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::super::origin::Of;
    use super::super::out::Out;
    use super::super::results::{Before, Results};
    use super::{MapResponse, Patience, Progress, ReadMapRequest, Reading};
    use crate::call::{dial, json::tests::album};
    use crate::cli::DEFAULT_ADDRESS;
    use crate::doubles::{self, streaming, unary};
    use parking_lot::Mutex;
    use prost_reflect::MethodDescriptor;
    use serde_json::Value;
    use std::collections::VecDeque;
    use std::path::Path;
    use std::process::ExitCode;
    use std::sync::Arc;
    use tonic::{Code, Status};
    use turno_proto::google::longrunning::operation::Result as Ended;
    use turno_proto::google::longrunning::{GetOperationRequest, Operation};
    use turno_proto::google::rpc;
    use turno_proto::v1::{MapResult, MapSummary};

    type Answers = Vec<Result<MapResponse, Status>>;

    /// A gateway that gives each who reads what is next, and remembers from where on it was asked to.
    #[derive(Clone, Default)]
    struct Double {
        answers: Arc<Mutex<VecDeque<Answers>>>,
        asked: Arc<Mutex<Vec<u64>>>,
        /// What the map has ended with.
        ended: Option<rpc::Status>,
    }

    async fn serve(double: Double) -> String {
        let Double { answers, asked, ended } = double;
        let read = move |request: ReadMapRequest| {
            asked.lock().push(request.from);
            answers.lock().pop_front().unwrap_or_default()
        };
        let get = move |request: GetOperationRequest| {
            let (name, result) = (request.name, ended.clone().map(Ended::Error));
            Ok(Operation { name, done: result.is_some(), result, ..Operation::default() })
        };
        let reading = streaming("/turno.v1.Tickets/ReadMap", read);
        let getting = unary("/google.longrunning.Operations/GetOperation", get);
        doubles::serve(reading.merge(getting)).await.to_string()
    }

    fn print() -> MethodDescriptor {
        let studio = album().parent_pool().get_service_by_name("album.v1.Studio").unwrap();
        studio.methods().find(|method| method.name() == "Print").unwrap()
    }

    fn lines(indexes: &[u64]) -> String {
        indexes.iter().map(|index| format!("{{\"index\":{index},\"response\":{{}}}}\n")).collect()
    }

    fn results(indexes: &[u64]) -> MapResponse {
        let result = |index: &u64| MapResult { index: *index, ..MapResult::default() };
        MapResponse { results: indexes.iter().map(result).collect(), summary: None }
    }

    fn end() -> MapResponse {
        MapResponse { results: Vec::new(), summary: Some(MapSummary::default()) }
    }

    /// What a reading came to.
    struct Seen {
        ended: ExitCode,
        written: Vec<u64>,
        asked: Vec<u64>,
        /// By FILE.turno.
        said: String,
    }

    impl Seen {
        fn must_be(self, ended: ExitCode, written: &[u64], asked: &[u64]) {
            assert_eq!(format!("{:?}", self.ended), format!("{ended:?}"));
            assert_eq!((self.written.as_slice(), self.asked.as_slice()), (written, asked));
        }
    }

    /// What is said of a file by whoever wrote it before.
    const BEFORE: &str = "milk\n";

    /// Goes on with a file.
    async fn read(file: &str, most: Option<u64>, answers: Vec<Answers>) -> Seen {
        read_of(None, file, most, answers).await
    }

    /// The same of a map that has ended with an error, if it has.
    async fn read_of(
        ended: Option<rpc::Status>,
        file: &str,
        most: Option<u64>,
        answers: Vec<Answers>,
    ) -> Seen {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let note = folder.path().join("out.jsonl.turno");
        std::fs::write(&path, file).unwrap();
        std::fs::write(&note, BEFORE).unwrap();
        let double = Double { answers: Arc::new(Mutex::new(answers.into())), ended, ..Double::default() };
        let channel = dial(&serve(double.clone()).await).await.unwrap();
        let out = Some(Out::open(&path, true).unwrap());
        let results = Results::open(out, Before::Kept { is_checked: true }, &print())
            .unwrap()
            .of_ticket("operations/1", DEFAULT_ADDRESS);
        let progress = Progress::new(None, results.count(), false);
        let mut reading = Reading::new(channel, "operations/1", results, most, progress);
        let ended = reading.run(album().parent_pool()).await.unwrap();
        let written = std::fs::read_to_string(&path).unwrap();
        let index = |line| serde_json::from_str::<Value>(line).unwrap()["index"].as_u64().unwrap();
        let (asked, said) = (double.asked.lock().clone(), std::fs::read_to_string(note).unwrap());
        Seen { ended, written: written.lines().map(index).collect(), asked, said }
    }

    #[tokio::test]
    async fn it_goes_on_behind_what_is_written_whatever_gateway_is_there() {
        let file = format!("{}{{\"index\":0,\"resp", lines(&[2]));
        let answers = vec![
            vec![Ok(results(&[0, 1])), Err(Status::unavailable("the gateway is ending"))],
            vec![Ok(results(&[4]))],
            vec![Ok(results(&[3])), Ok(end())],
        ];
        read(&file, None, answers).await.must_be(ExitCode::SUCCESS, &[2, 0, 1, 4, 3], &[1, 3, 4]);
    }

    #[tokio::test]
    async fn what_a_map_has_ended_with_is_no_gateway_that_is_away() {
        for code in [Code::Unavailable, Code::ResourceExhausted] {
            let dead = with_details(code, "the oven is cold");
            let answers = vec![vec![Ok(results(&[0])), Err(dead)], vec![Ok(end())]];
            let ended = rpc::Status {
                code: code.into(),
                message: "the oven is cold".to_owned(),
                ..rpc::Status::default()
            };
            read_of(Some(ended), "", None, answers).await.must_be(ExitCode::FAILURE, &[0], &[0]);
        }
    }

    #[tokio::test]
    async fn a_gateway_that_is_full_has_ended_no_map() {
        let full = || Err(with_details(Code::ResourceExhausted, "which is all that may (max_calls)"));
        let answers = vec![vec![full()], vec![Ok(results(&[0])), full()], vec![Ok(results(&[1])), Ok(end())]];
        read("", None, answers).await.must_be(ExitCode::SUCCESS, &[0, 1], &[0, 0, 1]);
        // Nor has one that is full when the map has ended with something else: there may be results before that.
        let ended = rpc::Status { code: Code::Aborted.into(), ..rpc::Status::default() };
        let answers = vec![vec![full()], vec![Ok(results(&[0])), Err(with_details(Code::Aborted, ""))]];
        read_of(Some(ended), "", None, answers).await.must_be(ExitCode::FAILURE, &[0], &[0, 0]);
    }

    fn with_details(code: Code, message: &str) -> Status {
        Status::with_details(code, message, (&b"\x08\x0e"[..]).into())
    }

    #[tokio::test]
    async fn who_opens_every_reading_and_gives_nothing_is_given_up() {
        let answers = vec![vec![Err(Status::unavailable("the store is away"))], vec![Ok(end())]];
        let double = Double { answers: Arc::new(Mutex::new(answers.into())), ..Double::default() };
        let channel = dial(&serve(double).await).await.unwrap();
        let results = Results::open(None, Before::Kept { is_checked: true }, &print())
            .unwrap()
            .of_ticket("operations/1", DEFAULT_ADDRESS);
        let mut reading = Reading::new(channel, "operations/1", results, None, Progress::new(None, 0, false));
        reading.patience = Patience::at_its_end();
        let error = reading.run(album().parent_pool()).await.unwrap_err().to_string();
        assert!(error.contains("the store is away"), "{error}");
    }

    #[tokio::test]
    async fn whose_answers_a_file_has_is_said_once_one_has_come() {
        let gone = || Status::not_found("no such ticket");
        assert_eq!(read(&lines(&[0]), None, vec![vec![Err(gone())]]).await.said, BEFORE);
        for first in [results(&[1]), end()] {
            let said = read(&lines(&[0]), None, vec![vec![Ok(first), Err(gone())]]).await.said;
            assert!(said.starts_with(r#"{"ticket":"operations/1","first":""#), "{said}");
        }
    }

    #[test]
    fn what_goes_on_is_what_will_not_be_refused() {
        let folder = tempfile::tempdir().unwrap();
        // With what is added to it, the one is too long for a name.
        for (name, end) in [("a".repeat(250), " --resume --unchecked"), ("a".to_owned(), "/a --resume")] {
            let out = Out::open(&folder.path().join(name), false).unwrap();
            let results = Results::open(Some(out), Before::Refused(Of::NewTicket), &print()).unwrap();
            let again = results.of_ticket("operations/1", DEFAULT_ADDRESS).command();
            assert!(again.ends_with(end), "{again}");
        }
    }

    #[test]
    fn what_is_in_no_file_does_not_go_on_where_it_was() {
        let reads_on = |out| {
            let results = Results::open(out, Before::Refused(Of::NewTicket), &print()).unwrap();
            results.of_ticket("operations/1", DEFAULT_ADDRESS).reads_on()
        };
        let anew = "`turno tickets results operations/1 --follow` begins again with its first answer";
        assert_eq!(reads_on(None), anew);
        assert_eq!(reads_on(Some(Out::open(Path::new("/dev/null"), false).unwrap())), anew);
        let folder = tempfile::tempdir().unwrap();
        let on = reads_on(Some(Out::open(&folder.path().join("a"), false).unwrap()));
        assert!(on.ends_with("/a --resume` reads on"), "{on}");
    }

    #[test]
    fn who_vouches_for_answers_does_so_until_it_is_written_whose_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        std::fs::write(&path, lines(&[0])).unwrap();
        std::fs::write(folder.path().join("out.jsonl.turno"), "{\"ticket\":\"operations/2\"}\n").unwrap();
        let open = |is_checked| {
            let out = Some(Out::open(&path, true).unwrap());
            Results::open(out, Before::Kept { is_checked }, &print())
                .unwrap()
                .of_ticket("operations/1", DEFAULT_ADDRESS)
        };
        assert!(open(true).command().ends_with("out.jsonl --resume"));
        let results = open(false);
        assert!(results.command().ends_with("out.jsonl --resume --unchecked"));
        results.tell_ticket("operations/1").unwrap();
        assert!(results.command().ends_with("out.jsonl --resume"));
        drop(results);
        // Nobody vouches for what is not there.
        std::fs::write(&path, "").unwrap();
        assert!(open(false).command().ends_with("out.jsonl --resume"));
    }

    #[tokio::test]
    async fn no_more_is_waited_for_than_is_wanted() {
        let answers = vec![vec![Ok(results(&[5])), Err(Status::internal("it was read on"))]];
        read(&lines(&[2, 0]), Some(3), answers).await.must_be(ExitCode::SUCCESS, &[2, 0, 5], &[2]);
        read(&lines(&[2, 0]), Some(2), Vec::new()).await.must_be(ExitCode::SUCCESS, &[2, 0], &[2]);
    }
}
