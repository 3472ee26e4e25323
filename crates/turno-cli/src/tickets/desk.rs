//! A gateway's desk: what is asked there, and what its errors mean for who has asked.

use std::collections::BTreeMap;
use std::error::Error as _;

use anyhow::anyhow;
use bytes::Bytes;
use prost_reflect::MethodDescriptor;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use turno_proto::google::longrunning::operations_client::OperationsClient;
use turno_proto::google::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest,
};
use turno_proto::headers;
use turno_proto::status::code_name;
use turno_proto::v1::tickets_client::TicketsClient;
use turno_proto::v1::{EditRequest, RedriveRequest, ShowRequest, ShowResponse};

use super::name::{self, Written};
use super::patience::is_away;
use super::ticket::Ticket;
use crate::call::{Away, Prompt, answer, answer_behind, dial, method, why};
use crate::reflect;

/// The way to one gateway.
pub(crate) struct Desk {
    pub(crate) channel: Channel,
    pub(super) address: String,
    /// Methods whose types are known, by name.
    types: BTreeMap<String, MethodDescriptor>,
}

/// Tickets that are looked through for one whose id ends as a person has written it.
const LOOKED_THROUGH: usize = 10_000;
const PAGE: usize = 1000;

impl Desk {
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let channel = dial(address).await?;
        Ok(Self { channel, address: address.to_owned(), types: BTreeMap::new() })
    }

    pub(crate) fn tickets(&self) -> TicketsClient<Channel> {
        TicketsClient::new(self.channel.clone())
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX)
    }

    fn operations(&self) -> OperationsClient<Prompt> {
        OperationsClient::new(Prompt::new(self.channel.clone())).max_decoding_message_size(usize::MAX)
    }

    /// The types of a method, by reflection.
    pub(crate) async fn method(&mut self, name: &str) -> anyhow::Result<MethodDescriptor> {
        if let Some(known) = self.types.get(name) {
            return Ok(known.clone());
        }
        let found = reflect::find(self.channel.clone(), &self.address, &method::Name::parse(name)?).await?;
        self.types.insert(name.to_owned(), found.clone());
        Ok(found)
    }

    /// The whole name of a ticket, which a person may have written in part.
    pub(crate) async fn name(&self, text: &str) -> anyhow::Result<String> {
        let end = match name::read(text)? {
            Written::Whole(name) => return Ok(name),
            Written::End(end) => end,
        };
        let listed = self.list("", LOOKED_THROUGH).await?;
        name::find(&end, listed.tickets.iter().map(|ticket| ticket.name.as_str()), listed.more)
    }

    /// The newest tickets that a filter lets through, at most so many.
    pub(crate) async fn list(&self, filter: &str, most: usize) -> anyhow::Result<Listed> {
        let mut tickets = Vec::new();
        let more = self
            .pages(filter, most, |page| {
                tickets.extend(page);
                Ok(())
            })
            .await?;
        Ok(Listed { tickets, more })
    }

    /// The same, each page told as it comes; answers whether there are others behind them.
    pub(super) async fn pages(
        &self,
        filter: &str,
        most: usize,
        mut tell: impl FnMut(Vec<Ticket>) -> anyhow::Result<()>,
    ) -> anyhow::Result<bool> {
        let (mut count, mut token) = (0, String::new());
        loop {
            let page_size = i32::try_from(PAGE.min(most - count)).unwrap_or(i32::MAX);
            let mut question = Request::new(ListOperationsRequest {
                filter: filter.to_owned(),
                page_size,
                page_token: std::mem::take(&mut token),
                ..ListOperationsRequest::default()
            });
            // No listing of ours shows a response, and there may be gigabytes of them.
            question.metadata_mut().insert(headers::VIEW, AsciiMetadataValue::from_static(headers::BASIC));
            let page = self.operations().list_operations(question).await;
            let page = page.map_err(|status| self.refused(&status))?.into_inner();
            let tickets: Vec<Ticket> =
                page.operations.into_iter().map(Ticket::read).collect::<anyhow::Result<_>>()?;
            count += tickets.len();
            tell(tickets)?;
            token = page.next_page_token;
            if token.is_empty() || count >= most {
                return Ok(!token.is_empty());
            }
        }
    }

    pub(crate) async fn get(&self, name: &str) -> anyhow::Result<Ticket> {
        let question = GetOperationRequest { name: name.to_owned() };
        let got = self.operations().get_operation(question).await;
        Ticket::read(got.map_err(|status| self.refused(&status))?.into_inner())
    }

    /// Whether there is no such ticket; false where nobody says so.
    pub(crate) async fn is_gone(&self, name: &str) -> bool {
        let question = GetOperationRequest { name: name.to_owned() };
        let got = self.operations().get_operation(question).await;
        got.is_err_and(|status| status.code() == Code::NotFound)
    }

    /// All that is known of a ticket.
    pub(crate) async fn show(&self, name: &str) -> anyhow::Result<ShowResponse> {
        let tickets = TicketsClient::new(Prompt::new(self.channel.clone()));
        let question = ShowRequest { name: name.to_owned() };
        let shown = tickets.max_decoding_message_size(usize::MAX).show(question).await;
        Ok(shown.map_err(|status| self.refused(&status))?.into_inner())
    }

    pub(crate) async fn cancel(&self, name: &str) -> anyhow::Result<()> {
        let question = CancelOperationRequest { name: name.to_owned() };
        let asked = self.operations().cancel_operation(question).await;
        asked.map(drop).map_err(|status| self.refused(&status))
    }

    pub(crate) async fn delete(&self, name: &str) -> anyhow::Result<()> {
        let question = DeleteOperationRequest { name: name.to_owned() };
        let asked = self.operations().delete_operation(question).await;
        asked.map(drop).map_err(|status| self.refused(&status))
    }

    pub(crate) async fn redrive(&self, name: &str) -> anyhow::Result<Ticket> {
        let new = answer(self.tickets().redrive(RedriveRequest { name: name.to_owned() })).await;
        Ticket::read(new.map_err(|status| self.refused(&status))?.into_inner())
    }

    pub(crate) async fn edit(&self, question: EditRequest) -> anyhow::Result<Ticket> {
        let bytes = question.request.as_ref().map_or(0, Bytes::len);
        let edited = answer_behind(bytes, self.tickets().edit(question)).await;
        Ticket::read(edited.map_err(|status| self.refused(&status))?.into_inner())
    }

    /// What an error of the gateway's own means for who has asked.
    pub(crate) fn refused(&self, status: &Status) -> anyhow::Error {
        let (address, code, message) = (&self.address, code_name(status.code()), why(status));
        let told = match status.code() {
            Code::NotFound => format!("{message}\n`turno tickets list` shows the tickets that are kept"),
            Code::Unimplemented => format!("what answers at {address} keeps no tickets ({message})"),
            Code::Unavailable | Code::DeadlineExceeded => {
                format!("{address}: {code}: {message}; try again in a moment")
            }
            _ if status.source().is_some() => format!("the connection to {address} broke ({message})"),
            _ => format!("{code}: {message}"),
        };
        if is_away(status) { Away(told).into() } else { anyhow!(told) }
    }
}

/// A part of the tickets that there are.
#[derive(Debug)]
pub(crate) struct Listed {
    /// The newest first.
    pub(crate) tickets: Vec<Ticket>,
    /// There are others behind them.
    pub(crate) more: bool,
}
