-- Says what wrk has counted as one line of JSON. With PIPELINE=N, N requests
-- go out in one write; with BODY=TEXT they are POSTs of that JSON.
local body = os.getenv("BODY")

if body then
   wrk.method = "POST"
   wrk.body = body
   wrk.headers["Content-Type"] = "application/json"
end

local depth = tonumber(os.getenv("PIPELINE") or "1")

if depth > 1 then
   local requests
   function init()
      requests = string.rep(wrk.format(), depth)
   end
   function request()
      return requests
   end
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '{"requests": %d, "seconds": %.6f, "p50_us": %d, "p99_us": %d, ' ..
      '"max_us": %d, "failures": {"connect": %d, "read": %d, "write": %d, ' ..
      '"timeout": %d, "status": %d}, "failed": %d}\n',
      summary.requests, summary.duration / 1e6, latency:percentile(50),
      latency:percentile(99), latency.max, errors.connect, errors.read,
      errors.write, errors.timeout, errors.status, errors.connect +
      errors.read + errors.write + errors.timeout + errors.status))
end
