"""What the service answers when it refuses: one exception, and the statuses and sentences of its codes."""

from __future__ import annotations

from collections.abc import Mapping

TABLE: dict[str, tuple[int, str]] = {
    "ConditionNotMet": (412, "A condition in the request's conditional headers does not hold."),
    "MissingRequiredHeader": (400, "The request lacks a required HTTP header."),
    "MissingRequiredProperty": (400, "The request body lacks a required property."),
    "InvalidHeaderValue": (400, "An HTTP header has a value in a wrong format."),
    "InvalidPropertyValue": (400, "A property of the request body has an invalid value."),
    "UnsupportedProperty": (400, "The request body has a property that is not supported."),
    "MissingRequiredQueryParameter": (400, "The request lacks a required query parameter."),
    "InvalidQueryParameterValue": (400, "A query parameter of the request has an invalid value."),
    "OutOfRangeQueryParameterValue": (400, "A query parameter of the request is out of its range."),
    "UnsupportedRequestVersion": (400, "The request's api-version is not supported."),
    "InvalidRequestBody": (400, "The request body is not valid."),
    "OutOfRangeInput": (400, "A value in the request is out of range."),
    "OutOfRangePriority": (400, "The priority is out of its range."),
    "InvalidInput": (400, "A value in the request is invalid."),
    "InvalidAuthenticationInfo": (400, "The Authorization header is not in the right format."),
    "AuthenticationFailed": (403, "The request could not be authenticated; check its Authorization header."),
    "ResourceNotFound": (404, "There is no such resource."),
    "UnsupportedHttpVerb": (405, "The resource does not support this HTTP verb."),
    "RequestBodyTooLarge": (413, "The request body exceeds the greatest size allowed."),
    "InvalidRange": (416, "The range does not fit the size of the resource."),
    "TooManyRequests": (429, "Too many requests; wait before the next."),
    "InternalError": (500, "The server met an internal error; retry the request."),
    "OperationTimedOut": (500, "The operation took longer than it may."),
    "NotImplemented": (501, "This operation is not implemented."),
    "ServerBusy": (503, "The server is busy; retry the request."),
    "TooManyEnableAutoScaleRequests": (503, "Automatic scaling of the pool was enabled a moment ago."),
    "InvalidAutoScalingSettings": (400, "The automatic scaling settings are not valid."),
    "AutoScalingFormulaSyntaxError": (400, "The automatic scaling formula has a syntax error."),
    "AutoScaleFormulaTooLong": (400, "The automatic scaling formula is longer than 8192 characters."),
    "PoolNotFound": (404, "The specified pool does not exist."),
    "NodeNotFound": (404, "The specified node does not exist."),
    "JobNotFound": (404, "The specified job does not exist."),
    "JobScheduleNotFound": (404, "The specified job schedule does not exist."),
    "TaskNotFound": (404, "The specified task does not exist."),
    "FileNotFound": (404, "The specified file does not exist."),
    "NodeUserNotFound": (404, "The specified node user does not exist."),
    "CertificateNotFound": (404, "The specified certificate does not exist."),
    "CertificateExists": (409, "The specified certificate already exists."),
    "CertificateBeingDeleted": (409, "The specified certificate is being deleted."),
    "CertificateStateActive": (409, "The specified certificate is active."),
    "ApplicationNotFound": (404, "The specified application does not exist."),
    "InvalidApplicationPackageReferences": (409, "An application package that is referred to does not exist."),
    "VMExtensionNotFound": (404, "The specified extension does not exist on the node."),
    "OperationInvalidForCurrentState": (409, "The operation is not valid in the resource's current state."),
    "OperationNotValidOnPool": (409, "The operation is not valid on this pool."),
    "OperationNotValidOnNode": (409, "The operation is not valid on this node."),
    "PoolExists": (409, "The specified pool already exists."),
    "PoolBeingDeleted": (409, "The specified pool is being deleted."),
    "PoolBeingResized": (409, "The specified pool is being resized."),
    "PoolQuotaReached": (409, "The account has as many pools as it may have."),
    "NodeBeingCreated": (409, "The specified node is being created."),
    "NodeBeingStarted": (409, "The specified node is being started."),
    "NodeBeingReimaged": (409, "The specified node is being reimaged."),
    "NodeBeingRebooted": (409, "The specified node is being rebooted."),
    "NodeNotReady": (409, "The specified node is not ready."),
    "NodeStateUnusable": (409, "The specified node is unusable."),
    "NodeUserExists": (409, "The specified node user already exists."),
    "NodeAlreadyInTargetSchedulingState": (409, "The node is in this scheduling state already."),
    "JobExists": (409, "The specified job already exists."),
    "JobBeingDeleted": (409, "The specified job is being deleted."),
    "JobBeingTerminated": (409, "The specified job is being terminated."),
    "JobCompleted": (409, "The specified job is completed."),
    "JobDisabled": (409, "The specified job is disabled."),
    "JobNotActive": (409, "The specified job is not active."),
    "JobPreparationTaskOrReleaseTaskNotSpecified": (
        409,
        "The specified job has neither a job preparation nor a job release task.",
    ),
    "JobWithSameIdExists": (409, "A job has this id; a job and a job schedule can't share one."),
    "JobScheduleWithSameIdExists": (
        409,
        "A job schedule has this id; a job and a job schedule can't share one.",
    ),
    "ActiveJobAndScheduleQuotaReached": (
        409,
        "The account has as many active jobs and schedules as it may have.",
    ),
    "JobScheduleExists": (409, "The specified job schedule already exists."),
    "JobScheduleBeingTerminated": (409, "The specified job schedule is being terminated."),
    "JobScheduleBeingDeleted": (409, "The specified job schedule is being deleted."),
    "JobScheduleDisabled": (409, "The specified job schedule is disabled."),
    "JobScheduleCompleted": (409, "The specified job schedule is completed."),
    "TaskExists": (409, "The specified task already exists."),
    "TaskCompleted": (409, "The specified task is completed."),
    "TaskNotCompleted": (409, "The specified task is not completed."),
    "TaskSucceeded": (409, "The specified task has completed successfully."),
    "TaskFilesUnavailable": (409, "The files of the specified task are unavailable."),
    "TaskIdSameAsJobPreparationTask": (409, "The task has the id of the job preparation task."),
    "TaskIdSameAsJobReleaseTask": (409, "The task has the id of the job release task."),
    "TaskDependenciesNotSpecifiedOnJob": (
        400,
        "The task depends on others, but its job does not use dependencies.",
    ),
    "TaskDependencyListTooLong": (
        400,
        "The ids of the tasks that the task depends on exceed 64000 characters.",
    ),
}


class BatchError(Exception):
    """A refusal with its HTTP status, code and details, as the client gets it."""

    def __init__(
        self,
        code: str,
        status: int | None = None,
        message: str | None = None,
        headers: Mapping[str, str] | None = None,
        **values: str,
    ) -> None:
        known_status, sentence = TABLE.get(code, (400, code))
        super().__init__(code)
        self.code = code
        self.status = status or known_status
        self.message = message or sentence
        self.headers = dict(headers or {})
        self.values = values

    def body(self, request_id: str, time: str, base: str) -> dict[str, object]:
        """The error as JSON; `base` is the account's URL."""
        element = "Microsoft.Azure.Batch.Protocol.Entities.Container.errors/@Element"
        message = f"{self.message}\nRequestId:{request_id}\nTime:{time}"
        body: dict[str, object] = {
            "odata.metadata": f"{base}/$metadata#{element}",
            "code": self.code,
            "message": {"lang": "en-US", "value": message},
        }
        if self.values:
            body["values"] = [{"key": key, "value": value} for key, value in self.values.items()]
        return body


def invalid_property(name: str, value: object, reason: str) -> BatchError:
    """A property of the body that breaks a rule."""
    shown = str(value)[:200]
    return BatchError("InvalidPropertyValue", PropertyName=name, PropertyValue=shown, Reason=reason)


def invalid_query(name: str, value: str, reason: str) -> BatchError:
    """A query parameter that breaks a rule."""
    code, shown = "InvalidQueryParameterValue", value[:200]
    return BatchError(code, QueryParameterName=name, QueryParameterValue=shown, Reason=reason)
