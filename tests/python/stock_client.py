"""A stock grpcio client, with no .proto at hand, against a mesh that is up with the gallery joined.

    python stock_client.py 127.0.0.1:7070 http://127.0.0.1:8000/rocket.jpg

Everything it knows of the services comes by server reflection.
"""

import sys
import threading

import grpc
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from api_core import check_api_core
from tickets import check_tickets

PASSED = 0


def check(what, held, seen=""):
    global PASSED
    print(f"{'ok  ' if held else 'FAIL'} {what} {'' if held else seen}")
    if not held:
        sys.exit(1)
    PASSED += 1


class Mesh:
    """Calls methods that reflection describes."""

    def __init__(self, address):
        options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
        self.channel = grpc.insecure_channel(address, options=options)
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = descriptor_pool.DescriptorPool(self.database)

    def method(self, name):
        service, _, method = name.partition("/")
        found = self.pool.FindServiceByName(service).FindMethodByName(method)
        request = message_factory.GetMessageClass(found.input_type)
        response = message_factory.GetMessageClass(found.output_type)
        kind = self.channel.unary_stream if found.server_streaming else self.channel.unary_unary
        call = kind(f"/{name}", request_serializer=request.SerializeToString, response_deserializer=response.FromString)
        return call, request


def code_of(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
        return grpc.StatusCode.OK, ""
    except grpc.RpcError as error:
        return error.code(), error.details()


def main(address, picture):
    mesh = Mesh(address)
    services = set(mesh.database.get_services())
    wanted = {"gallery.v1.Gallery", "turno.io.v1.Http", "turno.cpu.v1.Images", "grpc.health.v1.Health", "turno.v1.Admin", "turno.v1.Tickets", "google.longrunning.Operations"}
    check("reflection lists the services", wanted <= services, services)

    thumbnail, Request = mesh.method("gallery.v1.Gallery/Thumbnail")
    small = thumbnail(Request(url=picture, width=100), timeout=20)
    check("Thumbnail answers a picture", small.width == 100 and small.data[:2] == b"\xff\xd8", small)

    packed = thumbnail(Request(url=picture, width=64), timeout=20, compression=grpc.Compression.Gzip)
    check("a gzip request is taken", packed.width == 64)

    stream, Many = mesh.method("gallery.v1.Gallery/Thumbnails")
    check("a stream streams", [p.width for p in stream(Many(urls=[picture] * 3, width=50), timeout=20)] == [50] * 3)

    check("INVALID_ARGUMENT", code_of(thumbnail, Request(url="no url at all"), timeout=20)[0] == grpc.StatusCode.INVALID_ARGUMENT,
          code_of(thumbnail, Request(url="no url at all"), timeout=20))
    slow = picture.rsplit("/", 1)[0] + "/slow"
    late = code_of(thumbnail, Request(url=slow), timeout=0.3)
    check("DEADLINE_EXCEEDED", late[0] == grpc.StatusCode.DEADLINE_EXCEEDED, late)

    calling = thumbnail.future(Request(url=slow), timeout=30)
    threading.Timer(0.2, calling.cancel).start()
    try:
        calling.result()
        was_cancelled = False
    except grpc.FutureCancelledError:
        was_cancelled = True
    check("CANCELLED", was_cancelled and calling.code() == grpc.StatusCode.CANCELLED, calling.code())

    raw = mesh.channel.unary_unary("/gallery.v1.Gallery/Frame")
    unknown = code_of(raw, b"", timeout=20)
    check("UNIMPLEMENTED", unknown[0] == grpc.StatusCode.UNIMPLEMENTED, unknown)

    health = health_pb2_grpc.HealthStub(mesh.channel)
    for service in ["", "gallery.v1.Gallery"]:
        status = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5).status
        check(f"health of {service!r}", status == health_pb2.HealthCheckResponse.SERVING, status)
    missing = code_of(health.Check, health_pb2.HealthCheckRequest(service="no.such.Service"), timeout=5)
    check("health of nobody is NOT_FOUND", missing[0] == grpc.StatusCode.NOT_FOUND, missing)

    check_tickets(mesh, check, code_of, picture)
    check_api_core(mesh, check, picture)

    large, Shrink = mesh.method("turno.cpu.v1.Images/Info")
    refused = code_of(large, Shrink(data=b"\0" * (20 << 20)), timeout=30)
    check("20 MiB of nothing is no picture", refused[0] == grpc.StatusCode.INVALID_ARGUMENT, refused)


if __name__ == "__main__":
    main(*sys.argv[1:])
    print(f"{PASSED} passed, 0 failed")
