"""Google's own client for long-running operations (PyPI: google-api-core), unmodified, against tickets."""

from google.api_core import exceptions, operation, operations_v1, page_iterator
from google.longrunning import operations_pb2 as lro
from google.protobuf import message_factory

NOBODYS = "operations/0198c5b2-0000-7000-8000-000000000000"


def raised(call, *args, **kwargs):
    try:
        return call(*args, **kwargs)
    except exceptions.GoogleAPICallError as error:
        return error


def check_api_core(mesh, check, picture):
    submit, Submit = mesh.method("turno.v1.Tickets/Submit")
    _, Thumbnail = mesh.method("gallery.v1.Gallery/Thumbnail")
    Picture = message_factory.GetMessageClass(mesh.pool.FindMessageTypeByName("gallery.v1.Picture"))
    Metadata = message_factory.GetMessageClass(mesh.pool.FindMessageTypeByName("turno.v1.TicketMetadata"))
    client = operations_v1.OperationsClient(mesh.channel)

    def submitted(url):
        request = Thumbnail(url=url, width=80).SerializeToString()
        ticket = submit(Submit(method="gallery.v1.Gallery/Thumbnail", request=request, labels={"shop": "core"}), timeout=20)
        return operation.Operation.deserialize(ticket.SerializeToString())

    def future(ticket):
        # Not from_grpc: of what has not ended it asks with an argument that its own function does not take.
        return operation.from_gapic(ticket, client, Picture, metadata_type=Metadata)

    tickets = [submitted(picture) for _ in range(5)]
    futures = [future(ticket) for ticket in tickets]
    check("result() is the method's own response", all(each.result(timeout=30).width == 80 for each in futures))
    check("metadata is a TicketMetadata", futures[0].metadata.attempts == 1, futures[0].metadata)
    done = [client.get_operation(ticket.name) for ticket in tickets]
    check("get_operation says the same", done == [each.operation for each in futures], done)
    stub = lro.OperationsStub(mesh.channel)
    ended = operation.from_grpc(done[0], stub, Picture)
    check("from_grpc of what has ended has its result", ended.result(timeout=5) == futures[0].result(), ended.operation)

    newest_first = done[::-1]
    listed = client.list_operations("operations", 'labels.shop = "core"')
    check("list_operations lists them", list(listed) == newest_first)
    request = lro.ListOperationsRequest(name="operations", filter='labels.shop = "core"', page_size=2)
    paged = page_iterator.GRPCIterator(client=None, method=stub.ListOperations, request=request, items_field="operations")
    pages = [list(page) for page in paged.pages]
    check("its pages are followed to the last", [len(page) for page in pages] == [2, 2, 1], [len(page) for page in pages])
    check("each is in one page", sum(pages, []) == newest_first)
    wrong = raised(lambda: list(client.list_operations("operations", "colour = red")))
    check("a wrong filter is InvalidArgument", isinstance(wrong, exceptions.InvalidArgument), wrong)

    failed = future(submitted("no url")).exception(timeout=30)
    check("an error is raised as its class", isinstance(failed, exceptions.InvalidArgument), failed)

    running = future(submitted(picture.rsplit("/", 1)[0] + "/slow"))
    check("cancel() is taken", running.cancel())
    stopped = running.exception(timeout=30)
    check("what was cancelled raises Cancelled", isinstance(stopped, exceptions.Cancelled), stopped)
    check("and says so", running.cancelled() and not running.cancel(), running.operation)

    client.delete_operation(tickets[0].name)
    gone = raised(client.get_operation, tickets[0].name)
    check("delete_operation forgets", isinstance(gone, exceptions.NotFound), gone)
    for call in [client.get_operation, client.cancel_operation, client.delete_operation]:
        unknown = raised(call, NOBODYS)
        check(f"{call.__name__} of an unknown name is NotFound", isinstance(unknown, exceptions.NotFound), unknown)
