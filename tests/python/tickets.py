"""Google's published stubs for long-running operations (PyPI: googleapis-common-protos), unmodified, against tickets."""

import grpc
from google.longrunning import operations_pb2 as lro
from google.protobuf import duration_pb2, message_factory

try:
    from google.longrunning import operations_grpc_pb2 as lro_grpc
except ImportError:
    from google.longrunning import operations_pb2_grpc as lro_grpc


def check_tickets(mesh, check, code_of, picture):
    submit, Submit = mesh.method("turno.v1.Tickets/Submit")
    _, Thumbnail = mesh.method("gallery.v1.Gallery/Thumbnail")
    operations = lro_grpc.OperationsStub(mesh.channel)

    asked = Thumbnail(url=picture, width=80).SerializeToString()
    labels = {"shop": "stock"}
    ticket = submit(Submit(method="gallery.v1.Gallery/Thumbnail", request=asked, labels=labels), timeout=20)
    check("a submit is answered by an operation", ticket.name.startswith("operations/"), ticket)

    waiting = lro.WaitOperationRequest(name=ticket.name, timeout=duration_pb2.Duration(seconds=20))
    done = operations.WaitOperation(waiting, timeout=30)
    check("WaitOperation waits", isinstance(done, lro.Operation) and done.done, done)
    check("GetOperation says the same", operations.GetOperation(lro.GetOperationRequest(name=ticket.name), timeout=5) == done)

    packed = operations.GetOperation(lro.GetOperationRequest(name=ticket.name), timeout=5, compression=grpc.Compression.Gzip)
    check("and so when the question is packed", packed == done, packed)

    Picture = message_factory.GetMessageClass(mesh.pool.FindMessageTypeByName("gallery.v1.Picture"))
    result = Picture()
    check("the result is the method's own response", done.response.Unpack(result) and result.width == 80, done.response.type_url)
    Metadata = message_factory.GetMessageClass(mesh.pool.FindMessageTypeByName("turno.v1.TicketMetadata"))
    metadata = Metadata()
    check("the metadata is a TicketMetadata", done.metadata.Unpack(metadata) and metadata.attempts == 1, done.metadata.type_url)

    listed = operations.ListOperations(lro.ListOperationsRequest(filter='labels.shop = "stock" AND state = "done"'), timeout=5)
    check("ListOperations finds it by its label", [each.name for each in listed.operations] == [ticket.name], listed)
    check("what is done is listed with its response", all(each.done and each.HasField("response") and each == done for each in listed.operations), listed)
    wrong = code_of(operations.ListOperations, lro.ListOperationsRequest(filter="colour = red"), timeout=5)
    check("a filter that is not understood is named", wrong[0] == grpc.StatusCode.INVALID_ARGUMENT and "colour" in wrong[1], wrong)

    failing = submit(Submit(method="gallery.v1.Gallery/Thumbnail", request=Thumbnail(url="no url").SerializeToString()), timeout=20)
    failed = operations.WaitOperation(lro.WaitOperationRequest(name=failing.name), timeout=30)
    check("the error is the method's own status", failed.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0], failed)

    slow = Thumbnail(url=picture.rsplit("/", 1)[0] + "/slow").SerializeToString()
    running = submit(Submit(method="gallery.v1.Gallery/Thumbnail", request=slow), timeout=20)
    operations.CancelOperation(lro.CancelOperationRequest(name=running.name), timeout=5)
    cancelled = operations.WaitOperation(lro.WaitOperationRequest(name=running.name), timeout=30)
    check("CancelOperation cancels", cancelled.done and cancelled.error.code == grpc.StatusCode.CANCELLED.value[0], cancelled)

    operations.DeleteOperation(lro.DeleteOperationRequest(name=ticket.name), timeout=5)
    gone = code_of(operations.GetOperation, lro.GetOperationRequest(name=ticket.name), timeout=5)
    check("DeleteOperation forgets", gone[0] == grpc.StatusCode.NOT_FOUND, gone)
