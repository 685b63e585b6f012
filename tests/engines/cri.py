#!/usr/bin/python3
"""Speaks Kubernetes' container runtime interface as a kubelet does: cri.py SOCKET COMMAND ARGUMENT…

run NAME [PORT]             a pod; prints its id
ip POD                      its address
create POD NAME COMMAND…    a container of the pod, of the image localhost/bb:latest; prints its id
create-alone …              one with a process tree of its own
start|remove ID, stop ID    SIGTERM, two seconds later SIGKILL
state ID                    state, exit code and reason
exec ID COMMAND…            output; exits with the command's status
memory ID BYTES             changes the limit
stats ID                    CPU time in ns and working set in bytes
stop-pod POD, remove-pod POD
"""

import os
import sys
import tempfile

import grpc


def messages():
    """The classes of cri.proto."""
    here = os.path.dirname(os.path.abspath(__file__))
    with tempfile.TemporaryDirectory() as out:
        if os.system(f"protoc -I '{here}' --python_out='{out}' cri.proto"):
            sys.exit(1)
        sys.path.insert(0, out)
        import cri_pb2
    return cri_pb2


m = messages()
socket, command, *args = sys.argv[1:]
channel = grpc.insecure_channel("unix://" + socket)
WORK = os.environ["WORK"]


def call(method, request, response=m.Empty):
    """Calls one method of the runtime service; errors end the program in one line."""
    to_bytes = type(request).SerializeToString
    stub = channel.unary_unary(
        "/runtime.v1.RuntimeService/" + method,
        request_serializer=to_bytes,
        response_deserializer=response.FromString,
    )
    try:
        return stub(request, timeout=60)
    except grpc.RpcError as e:
        sys.exit(f"{method}: {e.details()}")


def pod(name, port=0):
    config = m.PodSandboxConfig(
        metadata=m.Metadata(name=name, uid=name, namespace="default", attempt=1),
        hostname=name + "-host",
        log_directory=os.path.join(WORK, "pods"),
        dns_config=m.DnsConfig(servers=["10.10.10.10"]),
        linux=m.LinuxSandbox(cgroup_parent="/runsc-cri/" + name),
    )
    if port:
        config.port_mappings.append(m.PortMapping(container_port=80, host_port=int(port)))
    return config


if command == "run":
    request = m.RunPodSandboxRequest(config=pod(*args), runtime_handler="runsc")
    print(call("RunPodSandbox", request, m.PodSandboxId).pod_sandbox_id)
elif command == "ip":
    print(call("PodSandboxStatus", m.PodSandboxId(pod_sandbox_id=args[0]), m.PodSandboxStatusResponse).status.network.ip)
elif command in ("create", "create-alone"):
    status = call("PodSandboxStatus", m.PodSandboxId(pod_sandbox_id=args[0]), m.PodSandboxStatusResponse).status
    config = m.ContainerConfig(
        metadata=m.ContainerMetadata(name=args[1]),
        image=m.ImageSpec(image="localhost/bb:latest"),
        command=args[2:],
        log_path=args[1] + ".log",
        linux=m.LinuxContainer(
            resources=m.Resources(memory_limit_in_bytes=128 << 20, cpu_quota=50000, cpu_period=100000),
            security_context=m.ContainerSecurity(namespace_options=m.NamespaceOption(pid=int(command != "create"))),
        ),
    )
    request = m.CreateContainerRequest(pod_sandbox_id=args[0], config=config, sandbox_config=pod(status.metadata.name))
    print(call("CreateContainer", request, m.ContainerId).container_id)
elif command in ("start", "remove"):
    call(command.capitalize() + "Container", m.ContainerId(container_id=args[0]))
elif command == "stop":
    call("StopContainer", m.ContainerId(container_id=args[0], timeout=2))
elif command == "state":
    status = call("ContainerStatus", m.ContainerId(container_id=args[0]), m.ContainerStatusResponse).status
    print(["created", "running", "exited", "unknown"][status.state], status.exit_code, status.reason)
elif command == "exec":
    result = call("ExecSync", m.ExecSyncRequest(container_id=args[0], cmd=args[1:], timeout=20), m.ExecSyncResponse)
    print((result.stdout + result.stderr).decode(), end="")
    sys.exit(result.exit_code)
elif command == "memory":
    request = m.UpdateRequest(container_id=args[0], linux=m.Resources(memory_limit_in_bytes=int(args[1])))
    call("UpdateContainerResources", request)
elif command == "stats":
    stats = call("ContainerStats", m.ContainerId(container_id=args[0]), m.ContainerStatsResponse).stats
    print(stats.cpu.usage_core_nano_seconds.value, stats.memory.working_set_bytes.value)
elif command == "stop-pod":
    call("StopPodSandbox", m.PodSandboxId(pod_sandbox_id=args[0]))
elif command == "remove-pod":
    call("RemovePodSandbox", m.PodSandboxId(pod_sandbox_id=args[0]))
else:
    sys.exit(__doc__)
