-- What is asked; script.rs tells the layout of the request and of the reply. A name in
-- capitals stands for the number of an algorithm or the flag of a state, by core's table.
--
-- The whole script runs for each request, so what it makes is what it costs: few functions, no table.
-- `acquire` is one function, and each algorithm a branch of it, in the order of its twin's functions.

local acquires, refunds = ARGV[1] == 'acquire', ARGV[1] == 'refund'

local now, ttl_margin
if ARGV[2] == '' then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
  ttl_margin = 1 -- ms: the server counts a lifetime from when the script began
else
  now = tonumber(ARGV[2])
  ttl_margin = 60000 -- ms: the server's clock must not overtake the limiter's own
end

-- Whatever else a stored double may be (no number, infinite, negative, broken), it is not this.
local function is_whole(number)
  return number >= 0 and number < 9007199254740992 and number % 1 == 0
end
