-- The request of every connection: one row of four numbers.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"x":[[5.1,3.5,1.4,0.2]]}'

local bad = 0
function response(status)
  if status ~= 200 then bad = bad + 1 end
end
