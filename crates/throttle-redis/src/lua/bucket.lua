  -- The token bucket and the leaky bucket. Both have a backlog: of taken tokens, or of queued requests.
  --
  -- A request of cost c adds c·W to the backlog, which drains by N each microsecond; its capacity is B·W. The
  -- backlog is stored as whole tokens and a part of a token, `tokens`·W + `part` with `part` < W. So the numbers
  -- stay small, and the taken tokens stay the same when the limit of a rule changes. If the capacity was lowered,
  -- the excess drains by `rate` each microsecond, the rate of the rule that allowed it, if that is faster.
  --
  -- A refund returns the part of a charge that has not drained yet. The receipt has the position of the charge in
  -- the backlog, which gives that part. In a token bucket, the charges behind it move forward: by at most
  -- `offset`·W + `offset_part`; charges from before `since_when` have drained, regardless of their receipts. In a
  -- leaky bucket they stay, because they have scheduled times. `slots` are the freed slots of refunded requests,
  -- which later requests take.
  if kind == TOKEN_BUCKET or kind == LEAKY_BUCKET then
    -- Returns the time that a backlog takes to drain, rounded up to the microsecond.
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

    -- Returns the difference of two backlogs, but at least zero.
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
    local has_offset, offset, offset_part, since_when = false, 0, 0, 0
    local slots -- four numbers for each slot, in order: from (tokens, part), to (tokens, part)
    if value then
      tokens, part, at, unit, rate = struct.unpack('>ddddd', value, 2)
    end

    -- Functions that few requests need. They are created only then, because creating a function costs time.
    local more, reaches, rescaled
    if refunds or flag > 0 or unit ~= window then
      -- Returns the sum of two backlogs.
      more = function(tokens, part, by_tokens, by_part, window)
        tokens, part = tokens + by_tokens, part + by_part
        if part >= window then
          return tokens + 1, part - window
        end
        return tokens, part
      end

      -- Returns whether a backlog is at least as large as another.
      reaches = function(tokens, part, other_tokens, other_part)
        return tokens > other_tokens or tokens == other_tokens and part >= other_part
      end

      -- Converts a backlog to the unit of another window, rounded up.
      rescaled = function(tokens, part, unit, window)
        local whole, over = mul_div(part, window, unit)
        part = over > 0 and whole + 1 or whole
        if part == window then
          return tokens + 1, 0
        end
        return tokens, part
      end
    end

    if value then
      local fits = is_whole(tokens) and is_whole(part) and is_whole(at) and is_whole(unit)
        and is_whole(rate) and part < unit and unit <= 1000000000000000 and rate <= 999999999999999
        and tokens <= 1000000000000000
        and tokens * unit <= (rate > 1 and rate or 1) * 9007199254740992 -- it drains within 2^53 µs
      if flag == RECEIPT_OFFSET then
        has_offset = true
        offset, offset_part, since_when = struct.unpack('>ddd', value, 42)
        fits = fits and is_whole(offset) and is_whole(offset_part) and is_whole(since_when)
          and offset <= 999999999999999 and offset_part < unit
      elseif flag == FREED_SLOTS then
        slots = {}
        local last, last_part = 0, 0
        for index = 42, 41 + extra_size, 16 do
          local whole, rest = struct.unpack('>dd', value, index)
          fits = fits and is_whole(whole) and is_whole(rest) and rest < unit
            and reaches(whole, rest, last, last_part)
          last, last_part = whole, rest
          slots[#slots + 1] = whole
          slots[#slots + 1] = rest
        end
        fits = fits and reaches(tokens, part, last, last_part)
      end
      if not fits then
        return nil, i .. ': a number of its bucket is out of range'
      end
    end

    -- is_ahead, advance
    ahead = ahead or at > now
    if unit ~= window then
      tokens, part = rescaled(tokens, part, unit, window)
      offset, offset_part = rescaled(offset, offset_part, unit, window)
      for index = 1, slots and #slots or 0, 2 do
        slots[index], slots[index + 1] = rescaled(slots[index], slots[index + 1], unit, window)
      end
      rate = mul_div(rate, window, unit)
      if rate > 999999999999999 then
        rate = 999999999999999
      elseif rate < 1 then
        rate = 1 -- the lowest rate of a rule
      end
    end
    local overflow_rate = rate > limit and rate or limit
    -- If the clock stepped back, nothing has drained, and the backlog stays.
    local elapsed, outflow, part_outflow = at < now and now - at or 0, nil, nil
    local before, part_before = tokens, part
    -- `beyond` is the time until the backlog fits into the capacity, `within` is the backlog at that time.
    local beyond, within, part_within, find_within = 0, nil, nil, nil
    if tokens > capacity or tokens == capacity and part > 0 then
      find_within = function()
        beyond, within, part_within = 0, tokens, part
        if tokens > capacity or tokens == capacity and part > 0 then
          beyond = drain_time(tokens - capacity, part, overflow_rate, window)
          outflow, part_outflow = mul_div(beyond, overflow_rate, window)
          within, part_within = less(tokens, part, outflow, part_outflow, window)
        end
      end
      find_within()
      if elapsed < beyond then
        outflow, part_outflow = mul_div(elapsed, overflow_rate, window)
        tokens, part = less(tokens, part, outflow, part_outflow, window)
        elapsed, beyond = 0, beyond - elapsed
      else
        tokens, part, elapsed, beyond = within, part_within, elapsed - beyond, 0
      end
    end
    if beyond == 0 then
      if elapsed > 0 and (tokens > 0 or part > 0) then
        outflow, part_outflow = mul_div(elapsed, limit, window)
        tokens, part = less(tokens, part, outflow, part_outflow, window)
      end
      rate, within, part_within = limit, tokens, part
    end
    if has_offset and kind == LEAKY_BUCKET then
      has_offset, offset, offset_part = false, 0, 0
    elseif has_offset and tokens == 0 and part == 0 then
      -- In an empty bucket no charge is left that could have moved.
      if offset > 0 or offset_part > 0 then
        offset, offset_part, since_when = 0, 0, now
      end
      if since_when > now then
        since_when = now -- the clock stepped back
      end
      -- The offset is dropped when all charges from before `since_when` must have drained.
      has_offset = now - since_when < drain_time(capacity, 0, limit, window)
    elseif slots then
      outflow, part_outflow = less(before, part_before, tokens, part, window)
      local left = {}
      for index = 1, #slots, 4 do
        local from, part_from = less(slots[index], slots[index + 1], outflow, part_outflow, window)
        local to, part_to = less(slots[index + 2], slots[index + 3], outflow, part_outflow, window)
        if kind == TOKEN_BUCKET then
          to, part_to = less(to, part_to, from, part_from, window)
          tokens, part = less(tokens, part, to, part_to, window)
        elseif not reaches(from, part_from, to, part_to) then
          left[#left + 1], left[#left + 2], left[#left + 3], left[#left + 4] =
            from, part_from, to, part_to
        end
      end
      slots = #left > 0 and left or nil
      if kind == TOKEN_BUCKET and find_within then
        find_within()
      elseif kind == TOKEN_BUCKET then
        within, part_within = tokens, part
      end
    end

    -- decide
    local slot
    if asks then
      local over = within + cost - capacity
      local room_wait, excess_delay, delay = beyond, 0, 0
      if over > 0 or over == 0 and part_within > 0 then
        room_wait = beyond + drain_time(over, part_within, limit, window)
      end
      if kind == LEAKY_BUCKET then
        delay = beyond + drain_time(within, part_within, limit, window)
        excess_delay = max_delay >= 0 and delay > max_delay and delay - max_delay or 0
      end
      local retry_after = room_wait > excess_delay and room_wait or excess_delay
      if slots then
        -- The excess over the capacity drains at its own rate, so no slot is taken before it has drained.
        local past, part_past = less(tokens, part, within, part_within, window)
        for index = 1, #slots, 4 do
          local from, part_from = less(slots[index], slots[index + 1], past, part_past, window)
          local to, part_to = less(slots[index + 2], slots[index + 3], past, part_past, window)
          if less(to, part_to, from, part_from, window) >= cost then
            slot = index
            delay = beyond + drain_time(from, part_from, limit, window)
            excess_delay = max_delay >= 0 and delay > max_delay and delay - max_delay or 0
            excess_delay = beyond > excess_delay and beyond or excess_delay
            retry_after = excess_delay < retry_after and excess_delay or retry_after
            break
          end
        end
      end
      if retry_after > 0 then
        allowed, wait = false, retry_after
      elseif delay > 0 then
        wait = delay
      end
    end

    -- refund
    if refunds then
      local drained, part_drained = 0, 0
      if now > charged_at then
        drained, part_drained = mul_div(now - charged_at, rate > limit and rate or limit, window)
      end
      if charged_at >= 0 then
        level, level_part = less(level, level_part, drained, part_drained, window)
      end
      if kind == LEAKY_BUCKET then
        slots = slots or {}
        if charged_at < 0 then
          -- free_last: without a receipt, the end of the queue is freed. Freed slots that are then at the end
          -- are removed, too: the queue becomes shorter.
          local left, part_left = cost, 0
          repeat
            local last, part_last = slots[#slots - 1] or 0, slots[#slots] or 0
            local taken, part_taken = less(tokens, part, last, part_last, window)
            if reaches(taken, part_taken, left, part_left) then
              taken, part_taken = left, part_left
            end
            left, part_left = less(left, part_left, taken, part_taken, window)
            tokens, part = less(tokens, part, taken, part_taken, window)
            local at_slot = reaches(last, part_last, tokens, part)
            if at_slot and #slots > 0 then
              tokens, part = slots[#slots - 3], slots[#slots - 2]
              for _ = 1, 4 do
                slots[#slots] = nil
              end
            elseif at_slot then
              tokens, part = 0, 0
            end
          until not at_slot or tokens == 0 and part == 0
        else
          local to, part_to = level, level_part
          if reaches(to, part_to, tokens, part) then
            to, part_to = tokens, part
          end
          local from, part_from = less(to, part_to, cost, 0, window)
          if not reaches(from, part_from, to, part_to) then
            -- free: merge the freed range with the slots that it touches.
            local left, insert_at = {}, 1
            for index = 1, #slots, 4 do
              local a, part_a, b, part_b =
                slots[index], slots[index + 1], slots[index + 2], slots[index + 3]
              if not reaches(b, part_b, from, part_from) or not reaches(to, part_to, a, part_a) then
                left[#left + 1], left[#left + 2], left[#left + 3], left[#left + 4] =
                  a, part_a, b, part_b
              else
                if not reaches(a, part_a, from, part_from) then
                  from, part_from = a, part_a
                end
                if reaches(b, part_b, to, part_to) then
                  to, part_to = b, part_b
                end
              end
            end
            slots = left
            if reaches(to, part_to, tokens, part) then
              tokens, part = from, part_from
            else
              while insert_at < #slots
                and not reaches(slots[insert_at], slots[insert_at + 1], from, part_from) do
                insert_at = insert_at + 4
              end
              table.insert(slots, insert_at, part_to)
              table.insert(slots, insert_at, to)
              table.insert(slots, insert_at, part_from)
              table.insert(slots, insert_at, from)
              if #slots > 64 then -- at most 16 slots are kept: the first, which drains soonest, is lost
                for _ = 1, 4 do
                  table.remove(slots, 1)
                end
              end
            end
          end
        end
        if #slots == 0 then
          slots = nil
        end
      else
        local refunded, part_refunded, is_last = cost, 0, true
        if charged_at >= 0 then
          local all, part_all = more(tokens, part, offset, offset_part, window)
          is_last = reaches(level, level_part, all, part_all)
          -- A bound that does not depend on moves: of this charge, at most all that drained since has drained.
          refunded, part_refunded = less(cost, 0, drained, part_drained, window)
          if not (has_offset and charged_at < since_when) then
            level, level_part = less(level, level_part, offset, offset_part, window)
            -- The charge was within the capacity at its time, regardless of earlier moves.
            local most, part_most = less(capacity, 0, drained, part_drained, window)
            if reaches(level, level_part, most, part_most) then
              level, level_part = most, part_most
            end
            if reaches(level, level_part, refunded, part_refunded) then
              refunded, part_refunded = level, level_part
            end
          end
          if refunded >= cost then
            refunded, part_refunded = cost, 0
          end
        end
        if reaches(refunded, part_refunded, tokens, part) then
          refunded, part_refunded = tokens, part
        end
        tokens, part = less(tokens, part, refunded, part_refunded, window)
        if not is_last and (refunded > 0 or part_refunded > 0) then
          has_offset = true
          offset, offset_part = more(offset, offset_part, refunded, part_refunded, window)
          if offset >= 999999999999999 then -- at its bound: earlier charges are refunded by their age alone
            offset, offset_part, since_when = 999999999999999, 0, now + 1
          end
        end
      end
      if find_within then
        find_within()
      end
    end

    all_allowed, reply = acquire(i + 1, all_allowed and allowed)
    if all_allowed == nil then
      return nil, reply
    end

    -- charge
    charges = all_allowed and acquires
    if charges and slot then
      local from, part_from = slots[slot] + cost, slots[slot + 1]
      level_hi, level_lo = product(from, window)
      charged_at, level_lo, slots[slot] = now, level_lo + part_from, from
      if reaches(from, part_from, slots[slot + 2], slots[slot + 3]) then
        for _ = 1, 4 do
          table.remove(slots, slot)
        end
        slots = #slots > 0 and slots or nil
      end
    elseif charges then
      tokens, charged_at = tokens + cost, now
      level_hi, level_lo = product(tokens + offset, window)
      level_lo = level_lo + part + offset_part
    end

    -- availability, lifetime
    remaining = capacity - tokens - (part > 0 and 1 or 0)
    if max_delay >= 0 or slots then
      -- `remaining` counts requests of cost 1 that fit into one slot, or at the end of the queue, within the
      -- longest delay.
      local last, part_last = nil, nil
      if max_delay >= 0 then
        last, part_last = mul_div(max_delay, limit, window)
      end
      local function fit(from, part_from, room)
        if not last then
          return room
        end
        local begin = last - from - (part_from > part_last and 1 or 0) + 1
        begin = begin > 0 and begin or 0
        return begin < room and begin or room
      end
      remaining = fit(tokens, part, remaining > 0 and remaining or 0)
      for index = 1, slots and reaches(capacity, 0, tokens, part) and #slots or 0, 4 do
        local room = less(slots[index + 2], slots[index + 3], slots[index], slots[index + 1], window)
        room = fit(slots[index], slots[index + 1], room)
        remaining = room > remaining and room or remaining
      end
    end
    within, part_within = beyond > 0 and within or tokens, beyond > 0 and part_within or part
    reset_after = beyond + drain_time(within, part_within, limit, window)
    lifetime, format, a, b, c, d, e = reset_after, '>Bddddd', tokens, part, now, window, rate
    flag = has_offset and RECEIPT_OFFSET or slots and FREED_SLOTS or 0
    if has_offset then
      -- The offset must be kept until the charges of all receipts must have drained.
      lifetime = beyond + drain_time(within + capacity, part_within, limit, window)
      extra = struct.pack('>ddd', offset, offset_part, since_when)
    elseif slots then
      extra = ''
      for index = 1, #slots, 4 do
        extra = extra
          .. struct.pack('>dddd', slots[index], slots[index + 1], slots[index + 2], slots[index + 3])
      end
    end
  end
