  -- The token bucket and the leaky bucket: one backlog, read from two sides.
  --
  -- A request of cost c adds c·W to the backlog, which drains by N each microsecond; B·W is the most it
  -- holds. It is kept as whole tokens and a part of one, `tokens`·W + `part` with `part` < W: so the
  -- numbers stay small, and a limit that is replaced keeps the tokens that are taken. What is beyond the
  -- capacity drains as fast as by the rule that let it in, if that is faster: by `rate` each microsecond.
  if kind == 3 or kind == 5 then
    -- Returns how long a backlog takes to drain, rounded up to the microsecond.
    local function drain_time(tokens, part, limit, window)
      local backlog = tokens * window + part
      if backlog < 9007199254740992 then
        local left = backlog % limit
        return left > 0 and (backlog - left) / limit + 1 or backlog / limit
      end
      local hi, lo = product(tokens, window)
      local whole, left = quotient(hi, lo + part, limit)
      return left > 0 and whole + 1 or whole
    end

    -- Returns what is left of a backlog when another is taken from it, not below zero.
    local function less(tokens, part, by_tokens, by_part, window)
      tokens, part = tokens - by_tokens, part - by_part
      if part < 0 then
        tokens, part = tokens - 1, part + window
      end
      if tokens < 0 then
        return 0, 0
      end
      return tokens, part
    end

    local tokens, part, at, unit, rate = 0, 0, now, window, limit
    if value then
      tokens, part, at, unit, rate = struct.unpack('>ddddd', value, 2)
      if not (is_whole(tokens) and is_whole(part) and is_whole(at) and is_whole(unit)
        and is_whole(rate) and part < unit and unit <= 1000000000000000
        and rate <= 999999999999999) then
        return nil, i .. ': a number of its bucket is out of range'
      end
    end

    -- is_ahead, advance
    ahead = ahead or at > now
    if unit ~= window then
      if part > 0 then
        -- As many tokens in the unit of another window, rounded up.
        local whole, over = mul_div(part, window, unit)
        part = over > 0 and whole + 1 or whole
        if part == window then
          tokens, part = tokens + 1, 0
        end
      end
      rate = mul_div(rate, window, unit)
      if rate > 999999999999999 then
        rate = 999999999999999
      end
    end
    local fast = rate > limit and rate or limit
    -- It is now's, also when the clock stepped back: nothing drained, nothing lost.
    local since, gone, part_gone = at < now and now - at or 0, nil, nil
    -- How long it takes until the capacity has room for all of the backlog, and how much that is then.
    local beyond, within, part_within, find_within = 0, nil, nil, nil
    if tokens > capacity or tokens == capacity and part > 0 then
      find_within = function()
        beyond, within, part_within = 0, tokens, part
        if tokens > capacity or tokens == capacity and part > 0 then
          beyond = drain_time(tokens - capacity, part, fast, window)
          gone, part_gone = mul_div(beyond, fast, window)
          within, part_within = less(tokens, part, gone, part_gone, window)
        end
      end
      find_within()
      if since < beyond then
        gone, part_gone = mul_div(since, fast, window)
        tokens, part = less(tokens, part, gone, part_gone, window)
        since, beyond = 0, beyond - since
      else
        tokens, part, since, beyond = within, part_within, since - beyond, 0
      end
    end
    if beyond == 0 then
      if since > 0 and (tokens > 0 or part > 0) then
        gone, part_gone = mul_div(since, limit, window)
        tokens, part = less(tokens, part, gone, part_gone, window)
      end
      rate, within, part_within = limit, tokens, part
    end

    -- decide
    if asks then
      local over = within + cost - capacity
      if over > 0 or over == 0 and part_within > 0 then
        allowed, wait = false, beyond + drain_time(over, part_within, limit, window)
      elseif beyond > 0 then
        allowed, wait = false, beyond
      elseif kind == 5 and (tokens > 0 or part > 0) then
        wait = drain_time(tokens, part, limit, window)
      end
    end

    -- refund: what has not drained yet of the charge. It stood at the end of the queue, so that it is
    -- the last to drain of the backlog that its receipt names.
    if refunds then
      if mark >= 0 and now > mark then
        gone, part_gone = mul_div(now - mark, rate > limit and rate or limit, window)
        level, rest = less(level, rest, gone, part_gone, window)
      end
      if mark < 0 or level >= cost then
        level, rest = cost, 0
      end
      tokens, part = less(tokens, part, level, rest, window)
      if find_within then
        find_within()
      end
    end

    admitted, reply = settle(i + 1, admitted and allowed)
    if admitted == nil then
      return nil, reply
    end

    -- charge
    charges = admitted and acquires
    if charges then
      tokens, mark = tokens + cost, now
      level_hi, level_lo = product(tokens, window)
      level_lo = level_lo + part
    end

    -- standing, lifetime
    remaining = capacity - tokens - (part > 0 and 1 or 0)
    if beyond > 0 then
      lifetime = beyond + drain_time(within, part_within, limit, window)
    else
      lifetime = drain_time(tokens, part, limit, window)
    end
    format, a, b, c, d, e = '>Bddddd', tokens, part, now, window, rate
  end
